"""The searches that the suite runs on; a new one is one more name."""

from __future__ import annotations

from mlengine.tuning.search.needs import PLUGGED

__all__ = ["FINITE", "TECHNOLOGIES"]

TECHNOLOGIES = ["random", "grid", "quasi-random", "bayesian", *PLUGGED]
FINITE = {"grid"}
"""Those that refuse a DOUBLE."""
