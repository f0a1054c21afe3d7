"""Trains a census income classifier with a canned Estimator, as in 2018."""
