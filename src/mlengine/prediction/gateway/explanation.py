"""A request to explain a prediction: an `Inquiry` of another kind of frame.

Key, quota, wake and the version's counts are those of a prediction; a split draws its version, but
does not count it. The worker never lets it share a call with predictions, nor stand before them,
see `mlengine.runtime.explain`.
"""

from __future__ import annotations

from mlengine.prediction.gateway.dialects import Asked
from mlengine.prediction.gateway.inquiry import Inquiry
from mlengine.runtime.frames import EXPLAIN

__all__ = ["EXPLAIN_BODY", "Explanation"]

EXPLAIN_BODY = Asked("ml_v1", "explain", b"POST")
"""What a path asks that ends with ``:explain``."""


class Explanation(Inquiry):
    """An explanation on its way to a worker, and back."""

    __slots__ = ()

    kind = EXPLAIN

    @property
    def is_prediction(self) -> bool:
        return False
