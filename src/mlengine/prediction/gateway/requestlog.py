"""Which predictions leave something behind, and what: rows of a table, lines of an access log.

The choice and the id are made before the answer goes out, all else after it. Rows are kept as they
are until there are `_ROWS` of them or a round of the loop's ticks is over; then they are encoded
with one call and handed to the `Writer`. That is cheaper than a row at a time, and cheaper than a
thread that would take the interpreter from the loop to do it.
"""

from __future__ import annotations

import itertools
import operator
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mlengine.core.names import model_of
from mlengine.prediction.requestlog.ids import PredictionIds
from mlengine.prediction.requestlog.parts import day_folder
from mlengine.prediction.requestlog.rows import Kept, RowLines, Stamp, Visit, by_day
from mlengine.prediction.requestlog.writer import Counts, Shelf, Writer
from mlengine.prediction.routing import Logging, Snapshot

__all__ = ["ID_LINE", "RequestLogs", "VersionLog"]

ID_LINE = b"x-mlengine-prediction-id: %b\r\n"
"""Of an answer's head."""

_ROWS = 64
_LONG_BYTES = 16 << 10  # of a body that is worth a hand-over of its own
_ACCESS_PART_BYTES = 16 << 20
_ACCESS_PARTS = 16
_ACCESS = -1  # no day: the access log


class RequestLogs:
    """The logs of all versions, by the newest snapshot.

    Args:
        ids: Names predictions.
        writer: Writes.
        now_s: A clock that mostly stands still while one turn of the loop answers many.
        wall_s: The time of day: seconds since 1970.
    """

    def __init__(
        self, ids: PredictionIds, writer: Writer, now_s: Callable[[], float], *,
        wall_s: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.found: dict[str, VersionLog] = {}
        self.times = False  # whether any writes down how long its answers take
        self._ids, self._writer, self._now_s, self._wall_s = ids, writer, now_s, wall_s
        self._counts: dict[str, Counts] = {}
        self._mended: Logging | None = None

    def replace(self, snapshot: Snapshot) -> None:
        """Log by this snapshot from now on."""
        self.flush()
        found = {}
        places = snapshot.logging
        for name, route in snapshot.versions.items():
            model = model_of(name)
            table = route.log_table if route.log_share > 0 and places.tables else ""
            access = places.access if model in snapshot.access_logs else ""
            if table or access:
                counts = self._counts.setdefault(name, Counts())
                found[name] = VersionLog(
                    name, self._ids, self._writer, counts, self._now_s, self._wall_s, places,
                    table=table, share=route.log_share, access=access,
                )  # fmt: skip
        self.found = found
        self.times = any(log.access for log in found.values())
        if found and places != self._mended:
            self._mended = places
            self._writer.mend([Path(folder) for folder in (places.tables, places.access) if folder])

    def flush(self) -> None:
        """Hand over what was kept; call it a few times a second."""
        for log in self.found.values():
            log.flush()

    def stats(self) -> dict[str, dict[str, int]]:
        """Return, by full version name, what became of rows."""
        return {
            name: {"logged": counts.written, "log_dropped": counts.dropped + counts.lost}
            for name, counts in self._counts.items()
        }


class VersionLog:
    """What the predictions of one version leave behind; `access`: a line each in an access log."""

    def __init__(
        self, version: str, ids: PredictionIds, writer: Writer, counts: Counts,
        now_s: Callable[[], float], wall_s: Callable[[], float], places: Logging, *, table: str,
        share: float, access: str,
    ) -> None:  # fmt: skip
        _projects, self._project, _models, self._model, _versions, self._version = version.split(
            "/"
        )
        self._ids, self._writer, self._counts = ids, writer, counts
        self._now_s, self._wall_s = now_s, wall_s
        self._places = places
        self.fresh_ids = ids.fresh(self._version)
        self._table = Path(places.tables, *table.split(".")) if table else None
        self.share = share if table else 0.0
        self.access = access
        self._rows: list[Kept] = []
        self._visits: list[Visit] = []
        self._shelves: dict[int, Shelf] = {}
        self._lines = RowLines(self._model, self._version)
        self._stamp = Stamp()
        self._turn_s = -1.0
        self._moment = ""  # of this turn, as text
        self._encoder = msgspec.json.Encoder()

    def chooses(self) -> bool:
        """Draw whether a prediction becomes a row."""
        return self.share >= 1.0 or (self.share > 0.0 and random.random() < self.share)

    def new_id(self) -> str:
        """Name a prediction that becomes a row; `fresh_ids` are names that were made before."""
        return self._ids.next(self._version)

    def keep(self, prediction_id: str, body: bytes, answer: bytes | None) -> None:
        """Take a row.

        Args:
            prediction_id: What the caller was told.
            body: What was asked.
            answer: What was predicted; None: the answer was an error.
        """
        now_s, rows = self._now_s(), self._rows
        if now_s != self._turn_s:
            self._begin_turn(now_s)
        rows.append((prediction_id, self._moment, body, answer))
        if len(rows) >= _ROWS or len(body) + len(answer or b"") >= _LONG_BYTES:
            self.flush()

    def keep_all(
        self, lines: list[bytes], bodies: list[bytes], answers: Sequence[bytes | None]
    ) -> list[bytes]:
        """Choose among the predictions of one turn, name those that become rows, and keep them.

        Args:
            lines: Of each answer's head so far; empty: none has any.
            bodies: What was asked; of desks, whose are short.
            answers: What was predicted.

        Returns:
            The lines, with those that say a prediction's name.
        """
        if self.share < 1.0:
            return self._keep_some(lines, bodies, answers)
        self._begin_turn(self._now_s())
        names = [self.fresh_ids.pop() if self.fresh_ids else self.new_id() for _ in bodies]
        self._rows += zip(names, itertools.repeat(self._moment), bodies, answers)
        if len(self._rows) >= _ROWS:
            self.flush()
        told = [ID_LINE % name.encode() for name in names]
        return list(map(operator.add, lines, told)) if lines else told

    def _keep_some(
        self, lines: list[bytes], bodies: list[bytes], answers: Sequence[bytes | None]
    ) -> list[bytes]:
        found = lines or [b""] * len(bodies)
        for place, (body, answer) in enumerate(zip(bodies, answers, strict=True)):
            if self.chooses():
                name = self.new_id()
                found[place] += ID_LINE % name.encode()
                self.keep(name, body, answer)
        return found

    def too_long(self) -> None:
        """Count a prediction that would be a row, but whose body is never whole in one place."""
        self._counts.dropped += 1

    def visit(
        self, status: int, taken_s: float, *, sent: int, answered: int, key: str, prediction_id: str
    ) -> None:
        """Take a line of the access log."""
        self._begin_turn(self._now_s())
        taken_ms = round(taken_s * 1e3, 3)
        self._visits.append(
            Visit(self._moment, self._version, status, taken_ms, sent, answered, key, prediction_id)
        )
        if len(self._visits) >= _ROWS:
            self.flush()

    def flush(self) -> None:
        """Hand over what was kept."""
        if self._rows:
            rows, self._rows = self._rows, []
            for day, some in by_day(rows).items():
                data = self._lines.encode(some)
                self._writer.append(self._shelf(day), data, len(some), self._counts)
        if self._visits:
            visits, self._visits = self._visits, []
            data = self._encoder.encode_lines(visits)
            self._writer.append(self._shelf(_ACCESS), data, len(visits), Counts())

    def _begin_turn(self, now_s: float) -> None:
        """Read the time of day; once does for all that one turn of the loop answers."""
        if now_s != self._turn_s:
            self._turn_s = now_s
            self._moment = self._stamp.text(self._wall_s())

    def _shelf(self, day: int) -> Shelf:
        """Return where the rows of a day go, or the lines of the access log."""
        shelf = self._shelves.get(day)
        if shelf is None:
            places = self._places
            if day != _ACCESS and self._table is not None:
                shelf = Shelf(self._table / day_folder(day),
                              max_bytes=places.part_bytes, max_s=places.part_s)  # fmt: skip
            else:
                shelf = Shelf(Path(self.access, self._project, self._model),
                              max_bytes=_ACCESS_PART_BYTES, max_s=float("inf"),
                              keep=_ACCESS_PARTS)  # fmt: skip
            self._shelves[day] = shelf
        return shelf
