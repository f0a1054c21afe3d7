"""Trains a census income classifier with PyTorch, alone or with others."""
