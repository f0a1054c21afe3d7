"""Trains and exports a census income classifier with scikit-learn."""
