"""What `Engine` has for what predictions leave behind: request logs, logs of workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mlengine.core.predictions import (
    LabelPredictionsResponse,
    LoggedPrediction,
    PredictionLabel,
    VersionLogs,
)

if TYPE_CHECKING:
    from mlengine.engine import Page

__all__ = ["PredictionVerbs"]


class PredictionVerbs(Protocol):
    """The verbs; what they do stands in `prediction.requestlog.tables` and `workers.logs`."""

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

    def version_logs(
        self, project: str, model_id: str, version_id: str, *, limit: int = 0
    ) -> VersionLogs:
        """Return the last lines, 100 or `limit`, of what each worker of a version printed."""
        ...
