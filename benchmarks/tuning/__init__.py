"""How good the search and early stopping are, against peers: ``python -m benchmarks.tuning``."""
