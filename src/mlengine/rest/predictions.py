"""The engine's own routes for what predictions leave behind; part of the table in `own`."""

from __future__ import annotations

from mlengine.core.predictions import LabelPredictionsRequest
from mlengine.rest.calls import Answer, Call, page_answer
from mlengine.rest.routes import Route

__all__ = ["ROUTES"]


def _list(call: Call) -> Answer:
    """List the rows of a model's request logs, the oldest day first; a page may be empty."""
    version, since = call.query.get("version", ""), call.query.get("since", "")
    found = call.engine.list_predictions(
        call.project, call.ids["model"], version=version, since=since, **call.page()
    )
    return page_answer("predictions", found)


def _label(call: Call) -> Answer:
    """Say what became of predictions, by their answers' ids; all of them, or none."""
    request = call.decode(LabelPredictionsRequest, at="request")
    return call.engine.label_predictions(call.project, request.labels)


def _logs(call: Call) -> Answer:
    """Return the last lines, 100 or `limit`, of what each worker of a version printed."""
    model, version = call.ids["model"], call.ids["version"]
    return call.engine.version_logs(call.project, model, version, limit=call.integer("limit"))


ROUTES: tuple[Route, ...] = (
    Route(
        id="engine.models.predictions.list",
        method="GET",
        path="/api/v1/projects/{project}/models/{model}/predictions",
        permission="mlengine.predictions.list",
        verb="list_predictions",
        run=_list,
        query=("version", "since", "pageSize", "pageToken"),
        response="ListPredictionsResponse",
    ),
    Route(
        id="engine.predictions.label",
        method="POST",
        path="/api/v1/projects/{project}/predictions:label",
        permission="mlengine.predictions.label",
        verb="label_predictions",
        run=_label,
        request="LabelPredictionsRequest",
        response="LabelPredictionsResponse",
    ),
    Route(
        id="engine.versions.logs",
        method="GET",
        path="/api/v1/projects/{project}/models/{model}/versions/{version}/logs",
        permission="mlengine.predictions.list",
        verb="version_logs",
        run=_logs,
        query=("limit",),
        response="VersionLogs",
    ),
)
