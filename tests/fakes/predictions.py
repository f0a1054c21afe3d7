"""Rows of a request log in a list and lines of workers, for a fake engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlengine.core.errors import NotFound
from mlengine.core.predictions import (
    LabelPredictionsResponse,
    LoggedPrediction,
    PredictionLabel,
    VersionLogs,
    WorkerLog,
)
from mlengine.core.resources import Version
from mlengine.engine import Page

__all__ = ["FakePredictions"]


class FakePredictions:
    """The verbs of `PredictionVerbs`; a page holds two rows."""

    before: Callable[[str], None]
    logged: list[LoggedPrediction]
    versions: dict[tuple[str, str, str], Version]

    def __init__(self) -> None:
        super().__init__()
        self.worker_logs: list[WorkerLog] = []

    def list_predictions(
        self, project: str, model_id: str, *, version: str = "", since: str = "",
        page_size: int = 0, page_token: str = "",
    ) -> Page[LoggedPrediction]:  # fmt: skip
        self.before("list_predictions")
        wanted = [
            row for row in self.logged
            if row.model == model_id and version in ("", row.model_version) and row.time >= since
        ]  # fmt: skip
        begin = int(page_token or 0)
        rest = begin + 2 < len(wanted)
        return Page(wanted[begin : begin + 2], str(begin + 2) if rest else "")

    def label_predictions(
        self, project: str, labels: Sequence[PredictionLabel]
    ) -> LabelPredictionsResponse:
        self.before("label_predictions")
        rows = {row.prediction_id: row for row in self.logged}
        if missing := [one.prediction_id for one in labels if one.prediction_id not in rows]:
            raise NotFound(f"No request log has a prediction {missing[0]}.")
        replaced = sum(rows[one.prediction_id].groundtruth is not None for one in labels)
        for one in labels:
            rows[one.prediction_id].groundtruth = one.value
        return LabelPredictionsResponse(labelled=len(labels), replaced=replaced)

    def version_logs(
        self, project: str, model_id: str, version_id: str, *, limit: int = 0
    ) -> VersionLogs:
        self.before("version_logs")
        if (project, model_id, version_id) not in self.versions:
            raise NotFound(f"There is no version '{version_id}'.")
        logs = [WorkerLog(file=log.file, lines=log.lines[-limit:]) for log in self.worker_logs]
        return VersionLogs(logs=logs)
