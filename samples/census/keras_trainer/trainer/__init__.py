"""Trains and exports a census income classifier with Keras: wide and deep."""
