"""What `Engine` has for the predictions that a request log keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mlengine.core.predictions import LabelPredictionsResponse, LoggedPrediction, PredictionLabel

if TYPE_CHECKING:
    from mlengine.engine import Page

__all__ = ["PredictionVerbs"]


class PredictionVerbs(Protocol):
    """The verbs; what they do stands in `prediction.requestlog.tables`."""

    def list_predictions(
        self, project: str, model_id: str, *, version: str = "", since: str = "",
        page_size: int = 0, page_token: str = "",
    ) -> Page[LoggedPrediction]:  # fmt: skip
        """List what a model was asked and answered, the oldest day first; a page may be empty."""
        ...

    def label_predictions(
        self, project: str, labels: Sequence[PredictionLabel]
    ) -> LabelPredictionsResponse:
        """Say what became of predictions: all of them, or none; a later label replaces."""
        ...
