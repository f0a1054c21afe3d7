"""The searches that the suite runs on; a new one is one more name."""

from __future__ import annotations

from mlengine.tuning.search.needs import PLUGGED

__all__ = ["FINITE", "TECHNOLOGIES"]

_SLOW = {"vizier:GP_UCB_PE"}  # ten CPU seconds a suggestion, and the suite asks for a thousand
TECHNOLOGIES = ["random", "grid", "quasi-random", "bayesian", *sorted(set(PLUGGED) - _SLOW)]
FINITE = {"grid"}
"""Those that refuse a DOUBLE."""
