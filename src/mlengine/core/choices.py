"""What one may choose from, as the API has it: commands offer it, and the rooms check it."""

from __future__ import annotations

__all__ = ["DEFAULT_START_PORT", "FRAMEWORKS", "SCALE_TIERS"]

FRAMEWORKS = ("TENSORFLOW", "SCIKIT_LEARN", "XGBOOST", "KERAS", "ONNX")
"""Of a version; the last two are not in Google's API."""

SCALE_TIERS = ("BASIC", "STANDARD_1", "PREMIUM_1", "BASIC_GPU", "BASIC_TPU", "CUSTOM")
"""Of a training job."""

DEFAULT_START_PORT = 27182
"""Of the first replica of a distributed `local train`; the others have the next ones."""
