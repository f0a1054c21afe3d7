from setuptools import find_packages, setup

setup(name="census-xgboost", version="0.1", packages=find_packages(), install_requires=["pandas"])
