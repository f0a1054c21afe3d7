"""What predictions of an engine somewhere else leave behind."""

from __future__ import annotations

from collections.abc import Sequence

from mlengine.client.calls import Calls, paging, query_text, v1
from mlengine.core.names import check_project, model_name, version_name
from mlengine.core.predictions import (
    LabelPredictionsRequest,
    LabelPredictionsResponse,
    LoggedPrediction,
    PredictionLabel,
    VersionLogs,
)
from mlengine.core.wire import decode_answer
from mlengine.engine import Page
from mlengine.engine.predictionverbs import PredictionVerbs

__all__ = ["HttpPredictions"]


class HttpPredictions(Calls):
    """The verbs of `PredictionVerbs`, over HTTP; each may be repeated without harm."""

    def list_predictions(
        self, project: str, model_id: str, *, version: str = "", since: str = "",
        page_size: int = 0, page_token: str = "",
    ) -> Page[LoggedPrediction]:  # fmt: skip
        """List what a model was asked and answered."""
        query = paging(page_size, page_token, version=version, since=since)
        path = "/api" + v1(model_name, project, model_id) + "/predictions" + query
        return self._list(LoggedPrediction, "predictions", path)

    def label_predictions(
        self, project: str, labels: Sequence[PredictionLabel]
    ) -> LabelPredictionsResponse:
        """Say what became of predictions."""
        path = f"/api/v1/projects/{check_project(project)}/predictions:label"
        request = LabelPredictionsRequest(labels=list(labels))
        found = self._call("POST", path, request, safe=True)
        return decode_answer(LabelPredictionsResponse, found, at="found")

    def version_logs(
        self, project: str, model_id: str, version_id: str, *, limit: int = 0
    ) -> VersionLogs:
        """Return the last lines of what each worker of a version printed."""
        query = query_text(limit=str(limit) if limit else "")
        path = "/api" + v1(version_name, project, model_id, version_id) + "/logs" + query
        return self._get(VersionLogs, path)


_: type[PredictionVerbs] = HttpPredictions
