"""What a request log says of a prediction, what became of it, and what workers printed.

These resources are the engine's own; Google's service wrote its rows into BigQuery and left them
there. See `core.resources` for how they are written.
"""

from __future__ import annotations

from mlengine.core.resources import Int64, Resource

__all__ = [
    "LabelPredictionsRequest",
    "LabelPredictionsResponse",
    "LoggedPrediction",
    "PredictionLabel",
    "VersionLogs",
    "WorkerLog",
]


class LoggedPrediction(Resource):
    """One row of a request log.

    Attributes:
        prediction_id: What the answer's header ``x-mlengine-prediction-id`` said.
        model: The model's id, as `model_version` is the version's.
        raw_data: The body of the request.
        raw_prediction: The body of the answer; absent where that was an error.
        groundtruth: What became of it, once a label said so.
    """

    prediction_id: str = ""
    model: str = ""
    model_version: str = ""
    time: str = ""
    raw_data: str = ""
    raw_prediction: str | None = None
    groundtruth: str | None = None


class PredictionLabel(Resource):
    """The truth about one prediction, in whatever words the table's readers agree on."""

    prediction_id: str = ""
    value: str = ""


class LabelPredictionsRequest(Resource):
    """Labels; all of them are written, or none."""

    labels: list[PredictionLabel] = []


class LabelPredictionsResponse(Resource):
    """How many predictions have a label now; `replaced` of them had one before."""

    labelled: Int64 = 0
    replaced: Int64 = 0


class WorkerLog(Resource):
    """The last lines that a worker of a version printed; `file` is on the engine's machine."""

    file: str = ""
    lines: list[str] = []


class VersionLogs(Resource):
    """The logs of a version's workers; the one that was written last is the last."""

    logs: list[WorkerLog] = []
