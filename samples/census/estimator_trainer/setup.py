"""Packs the trainer as a source distribution, for `--packages` or `pip install`."""

from setuptools import find_packages, setup

setup(
    name="census-estimator-trainer",
    version="1.0",
    description="Census income classifier: a canned wide-and-deep Estimator.",
    packages=find_packages(),
)
