"""The engine's side of workers: start, fork, watch, restart with back-off, adopt, stop."""
