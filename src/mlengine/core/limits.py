"""Numbers that more than one room must agree on."""

from __future__ import annotations

__all__ = ["MAX_PREDICT_BYTES"]

MAX_PREDICT_BYTES = 1 << 30
"""Longest body of a prediction that any version may take: 1 GiB."""
