"""Packs the trainer as a source distribution, for `--packages` or `pip install`."""

from setuptools import find_packages, setup

setup(
    name="census-sklearn-trainer",
    version="1.0",
    description="Census income classifier: gradient boosting over mixed columns.",
    packages=find_packages(),
    python_requires=">=3.11",
    install_requires=["scikit-learn>=1.5"],
)
