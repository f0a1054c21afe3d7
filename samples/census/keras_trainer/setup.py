"""Packs the trainer as a source distribution, for `--packages` or `pip install`."""

from setuptools import find_packages, setup

setup(
    name="census-keras-trainer",
    version="1.0",
    description="Census income classifier: wide-and-deep network.",
    packages=find_packages(),
    python_requires=">=3.11",
    # TensorFlow is distributed under several names (with and without CUDA, nightly): whoever
    # runs the trainer has picked one, and asking for another would put a second beside it.
    install_requires=["keras>=3.10", "numpy"],
)
