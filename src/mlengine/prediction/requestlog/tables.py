"""The engine's reading of request logs: rows with their labels joined, and labels for rows.

Rows are read where they lie, oldest first; nothing is indexed. A label's id says on which day it
was given, so one day's folder of each table of the project is looked through for it.
"""

from __future__ import annotations

import datetime
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from mlengine.core.errors import InvalidArgument, NotFound, ResourceExhausted
from mlengine.core.predictions import LabelPredictionsResponse, LoggedPrediction, PredictionLabel
from mlengine.prediction.requestlog.ids import day_of
from mlengine.prediction.requestlog.labels import Labels
from mlengine.prediction.requestlog.parts import day_folder, part_files, part_order, whole_lines
from mlengine.prediction.requestlog.rows import Row

__all__ = ["RowPage", "Tables", "Wanted"]

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NAMED = re.compile(rb'\{"prediction_id":"([^"]{1,300})"')
_PAGE_BYTES = 4 << 20
_LOOKED_BYTES = 64 << 20
_MOST_LABELS = 1000
_MOST_LABEL_CHARACTERS = 10_000
_LOOKS, _PAUSE_S = 10, 0.3  # for a row that is on its way: the gateway writes within a second


class Wanted(NamedTuple):
    """Which rows: of a model; if these are not empty, of one version and from a time on."""

    project: str
    model_id: str
    version_id: str = ""
    since: str = ""


class RowPage(NamedTuple):
    """Some rows, and where the next ones begin; empty at the end."""

    rows: list[LoggedPrediction]
    after: str


class Tables:
    """All tables of an engine.

    Args:
        root: Their folder.
        now: The time of day, in RFC 3339.
    """

    def __init__(self, root: Path, *, now: Callable[[], str]) -> None:
        self._root = root
        self._now = now
        self._decoder = msgspec.json.Decoder(Row)
        self._known: tuple[Path, tuple[int, int], dict[str, str]] = (root, (0, 0), {})
        self._pause = threading.Event()

    def rows(self, wanted: Wanted, *, limit: int, after: str = "") -> RowPage:
        """Return rows, the oldest day first.

        A page ends early when it gets long, or when much was looked at in vain: it may be empty
        and still be followed by others.

        Args:
            wanted: Which.
            limit: Most rows.
            after: Where the page before ended.
        """
        begin, _colon, number = after.rpartition(":")
        reached, ended = int(number) if begin else 0, _place(begin)
        found: list[LoggedPrediction] = []
        found_bytes = looked_bytes = 0
        for name, part in self._parts(wanted):
            if _place(name) < ended:
                continue
            at = reached if name == begin else 0  # a byte: a page costs no look at those before
            for line in whole_lines(part, at):
                too_much = found_bytes >= _PAGE_BYTES or looked_bytes >= _LOOKED_BYTES
                if len(found) >= limit or too_much:
                    return RowPage(found, f"{name}:{at}")
                at += len(line)
                looked_bytes += len(line)
                row = self._row(line, wanted)
                if row is not None:
                    found_bytes += len(line)
                    truth = self._labels(part.parent).get(row.prediction_id)
                    found.append(_view(row, truth))
        return RowPage(found, "")

    def label(self, project: str, labels: Sequence[PredictionLabel]) -> LabelPredictionsResponse:
        """Say what became of predictions: of all that are named, or of none.

        Raises:
            InvalidArgument: Too many, or one that is none.
            NotFound: No table of the project has a row of that name.
            ResourceExhausted: They cannot be written; those of earlier days may have been.
        """
        _check(labels)
        given = {label.prediction_id: label.value for label in labels}
        places = self._find(project, set(given))
        for _ in range(_LOOKS):
            late = set(given) - set(places)
            if not late or min(map(day_of, late)) < self._today() - 1:
                break  # what is older is on its way no more
            self._pause.wait(_PAUSE_S)
            places |= self._find(project, late)
        if missing := [name for name in given if name not in places]:
            raise _unknown(missing, project)
        replaced = 0
        for day in sorted(set(places.values())):
            some = {name: value for name, value in given.items() if places[name] == day}
            replaced += len(some.keys() & self._labels(day).keys())
            try:
                Labels(day).add(some, time=self._now())
            except OSError as error:
                raise ResourceExhausted(
                    f"The labels cannot be written: {error.strerror}.", "Make room, and try again."
                ) from None
        return LabelPredictionsResponse(labelled=len(given), replaced=replaced)

    # --- inner ---

    def _parts(self, wanted: Wanted) -> Iterator[tuple[str, Path]]:
        """Name the parts that may hold what is wanted, in an order that stays."""
        # A row of the day before may have been answered after midnight.
        first = _day_before(wanted.since[:10]) if wanted.since else ""
        # By the very text that a page's end is told in: "t-2" comes before "t/" there.
        days = sorted(
            (f"{day.name}/{day.parent.parent.name}.{day.parent.name}/", day)
            for day in (self._root / wanted.project).glob("*/*/*")
            if _DAY.fullmatch(day.name) and day.name >= first
        )
        for prefix, day in days:
            for part in part_files(day):
                yield f"{prefix}{part.name.removesuffix('.open')}", part

    def _row(self, line: bytes, wanted: Wanted) -> Row | None:
        try:
            row = self._decoder.decode(line)
        except msgspec.MsgspecError:
            return None  # somebody else's line
        if row.model != wanted.model_id or row.time < wanted.since:
            return None
        return row if wanted.version_id in ("", row.model_version) else None

    def _labels(self, day: Path) -> Mapping[str, str]:
        labels = Labels(day)
        stamp = labels.stamp
        known_day, known_stamp, known = self._known
        if (known_day, known_stamp) != (day, stamp):
            known = labels.read()
            self._known = (day, stamp, known)
        return known

    def _today(self) -> int:
        """Return the day: days since 1970."""
        return (datetime.date.fromisoformat(self._now()[:10]) - datetime.date(1970, 1, 1)).days

    def _find(self, project: str, names: Collection[str]) -> dict[str, Path]:
        """Return in which day's folder the rows of some predictions are."""
        found: dict[str, Path] = {}
        by_day: dict[int, set[bytes]] = {}
        for name in names:
            by_day.setdefault(day_of(name), set()).add(name.encode())
        for number, some in by_day.items():
            for day in sorted((self._root / project).glob(f"*/*/{day_folder(number)}")):
                for known in _named(day, some):
                    some.remove(known)
                    found[known.decode()] = day
        return found


def _named(day: Path, names: Collection[bytes]) -> Iterator[bytes]:
    """Yield those names that a day's rows have, until the taker has left none of them."""
    for part in part_files(day):
        for line in whole_lines(part):
            if not names:
                return
            named = _NAMED.match(line)
            if named is not None and named[1] in names:
                yield named[1]


def _place(name: str) -> tuple[str, str]:
    """Return what the names are sorted by in which a page's end is told."""
    folder, slash, part = name.rpartition("/")
    return folder + slash, part_order(part)


def _day_before(day: str) -> str:
    return (datetime.date.fromisoformat(day) - datetime.timedelta(days=1)).isoformat()


def _view(row: Row, truth: str | None) -> LoggedPrediction:
    return LoggedPrediction(
        prediction_id=row.prediction_id, model=row.model, model_version=row.model_version,
        time=row.time, raw_data=row.raw_data, raw_prediction=row.raw_prediction,
        groundtruth=truth if truth is not None else row.groundtruth,
    )  # fmt: skip


def _check(labels: Sequence[PredictionLabel]) -> None:
    if not 0 < len(labels) <= _MOST_LABELS:
        raise InvalidArgument(
            f"{len(labels)} labels cannot be written at once.",
            f"Send 1 to {_MOST_LABELS} of them.", field="labels",
        )  # fmt: skip
    for number, label in enumerate(labels):
        if day_of(label.prediction_id) < 0:
            raise InvalidArgument(
                f"{label.prediction_id[:120]!r} is no id of a prediction.",
                "Send what the answer's header 'x-mlengine-prediction-id' said.",
                field=f"labels[{number}].prediction_id",
            )
        if len(label.value) > _MOST_LABEL_CHARACTERS:
            raise InvalidArgument(
                f"The label of '{label.prediction_id[:120]}' has {len(label.value)} characters.",
                f"A label has {_MOST_LABEL_CHARACTERS} at most.",
                field=f"labels[{number}].value",
            )


def _unknown(missing: Sequence[str], project: str) -> NotFound:
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return NotFound(
        f"No request log of project '{project}' has a prediction {', '.join(missing[:3])}{more}; "
        "nothing was labelled.",
        "Only predictions that were drawn for a request log have a row; see "
        "'mlengine predictions list'.",
        field="labels",
    )
