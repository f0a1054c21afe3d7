"""How a local engine has the verbs for what predictions leave behind."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlengine.core.errors import InvalidArgument
from mlengine.core.names import check_id, check_project
from mlengine.core.paging import page_size as checked_page_size
from mlengine.core.paging import page_token as sealed
from mlengine.core.paging import position
from mlengine.core.predictions import (
    LabelPredictionsResponse,
    LoggedPrediction,
    PredictionLabel,
    VersionLogs,
)
from mlengine.engine import Page
from mlengine.engine.predictionverbs import PredictionVerbs
from mlengine.engine.settings import Settings
from mlengine.models.registry import Models
from mlengine.prediction.requestlog.tables import Tables, Wanted
from mlengine.prediction.workers.logs import worker_logs

__all__ = ["LocalPredictions"]

_NONE_YET = "?"  # before the place in a page's token: no page up to there had a row

_LINES = 100
_MOST_LINES = 10_000


class LocalPredictions:
    """Implements `PredictionVerbs` over what this engine's gateways and workers write."""

    _models: Models
    _settings: Settings
    _tables: Tables
    if TYPE_CHECKING:

        @property
        def _page_key(self) -> bytes: ...

    def list_predictions(
        self, project: str, model_id: str, *, version: str = "", since: str = "",
        page_size: int = 0, page_token: str = "",
    ) -> Page[LoggedPrediction]:  # fmt: skip
        self._models.model_record(check_project(project), model_id)
        if version:
            check_id(version, kind="version", field="version")
        begin = _moment(since)
        scope = ("predictions", project, model_id, version, begin)
        after = position(page_token, *scope, key=self._page_key)
        page = self._tables.rows(
            Wanted(project, model_id, version, begin), limit=checked_page_size(page_size),
            after=after.removeprefix(_NONE_YET),
        )  # fmt: skip
        none_yet = not page.rows and (not after or after.startswith(_NONE_YET))
        if page.after:
            place = f"{_NONE_YET if none_yet else ''}{page.after}"
            return Page(page.rows, sealed(place, *scope, key=self._page_key))
        if none_yet and version:
            # Rows outlive their version; a name that has neither is a mistake.
            self._models.version_record(project, model_id, version)
        return Page(page.rows, "")

    def label_predictions(
        self, project: str, labels: Sequence[PredictionLabel]
    ) -> LabelPredictionsResponse:
        return self._tables.label(check_project(project), labels)

    def version_logs(
        self, project: str, model_id: str, version_id: str, *, limit: int = 0
    ) -> VersionLogs:
        if not 0 <= limit <= _MOST_LINES:
            raise InvalidArgument(
                f"The limit {limit} is not from 1 to {_MOST_LINES}.",
                f"Leave it out for {_LINES} lines of each log.", field="limit",
            )  # fmt: skip
        record = self._models.version_record(check_project(project), model_id, version_id)
        folder = self._settings.home / "logs"
        return VersionLogs(logs=worker_logs(folder, record.uid, lines=limit or _LINES))


def _moment(since: str) -> str:
    """Return a time as rows write it, so that it can be compared with theirs."""
    if not since:
        return ""
    try:
        moment = datetime.datetime.fromisoformat(since)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        moment = moment.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            f"{since[:80]!r} is no time.", "Write it as 2026-11-21 or 2026-11-21T08:30:00Z.",
            field="since",
        ) from None  # fmt: skip
    if moment.year < 1970:
        return ""  # before every row
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_: type[PredictionVerbs] = LocalPredictions
