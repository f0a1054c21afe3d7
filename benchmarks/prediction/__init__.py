"""Online prediction against what people use today: `python -m benchmarks.prediction`."""
