"""Packs the trainer as a source distribution, for `--packages` or `pip install`."""

from setuptools import find_packages, setup

setup(
    name="census-torch-trainer",
    version="1.0",
    description="Census income classifier: a PyTorch network, on one replica or many.",
    packages=find_packages(),
    python_requires=">=3.11",
    # PyTorch is built for many devices: whoever runs the trainer has picked one.
    install_requires=["numpy"],
)
