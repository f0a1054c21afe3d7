"""The searches that the suite runs on; a new one is one more name."""

from __future__ import annotations

__all__ = ["FINITE", "TECHNOLOGIES"]

TECHNOLOGIES = ["random", "grid", "quasi-random", "bayesian"]
FINITE = {"grid"}
"""Those that refuse a DOUBLE."""
