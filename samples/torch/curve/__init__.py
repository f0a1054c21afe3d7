"""A PyTorch network: trained by `task`, served by `predictor`."""
