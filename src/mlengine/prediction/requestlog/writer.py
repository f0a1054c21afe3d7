"""The gateway's thread that writes: rows to their parts, and small files as a whole.

The loop hands over bytes and goes on; the thread does little but system calls, and few of them: all
that has come for a folder in a round is one write. So it keeps the loop from little: for each call
it has to take the interpreter back, which stops the loop for as long as two threads need to change
places. Longer rounds are fewer calls and cost more all the same: what is written is in no cache any
more. Of those that were tried, from 1 to 250 ms, 5 ms let 64 callers get the most answers.
What waits is bounded: beyond `_MAX_WAITING_BYTES` nothing more is taken, and what the
disk refuses is dropped. Both are counted, and no caller hears of either.
"""

from __future__ import annotations

import collections
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mlengine.prediction.requestlog.parts import MOST_PIECES, PartWriter, close_orphans
from mlengine.runtime.wholefile import write_whole

__all__ = ["Counts", "Shelf", "Writer"]

_log = logging.getLogger("mlengine.gateway")

_ROUND_S = 0.005
_SETTLE_S = 1.0
_SYNC_S = 5.0
_COMPLAIN_S = 60.0
_MAX_WAITING_BYTES = 64 << 20


class Counts:
    """What became of rows; each number is written by one thread only."""

    __slots__ = ("dropped", "lost", "written")

    def __init__(self) -> None:
        self.written = 0  # by the writer
        self.lost = 0  # by the writer: the disk refused
        self.dropped = 0  # by the loop: too much waited already


class Shelf:
    """Where rows go: a folder, and when its parts are closed."""

    __slots__ = ("folder", "keep", "max_bytes", "max_s")

    def __init__(self, folder: Path, *, max_bytes: int, max_s: float, keep: int = 0) -> None:
        self.folder, self.max_bytes, self.max_s, self.keep = folder, max_bytes, max_s, keep


class _Lines(NamedTuple):
    """Rows on their way to a shelf, as lines."""

    shelf: Shelf
    data: bytes
    rows: int
    counts: Counts


class Writer:
    """Writes what it is given, in order; starts its thread when the first thing comes.

    Args:
        max_waiting_bytes: Most that waits to be written.
    """

    def __init__(self, *, max_waiting_bytes: int = _MAX_WAITING_BYTES) -> None:
        self._max_waiting_bytes = max_waiting_bytes
        life = os.urandom(4).hex()  # no two gateways name their parts alike
        self._names = (f"{life}-{number:05d}" for number in itertools.count())
        self._waiting: collections.deque[tuple[int, _Lines | Callable[[], None]]] = (
            collections.deque()
        )
        self._given_bytes = 0  # by the loop
        self._done_bytes = 0  # by the thread
        self._parts: dict[Path, PartWriter] = {}
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._complained_s = -_COMPLAIN_S

    @property
    def waiting_bytes(self) -> int:
        """How much waits to be written."""
        return self._given_bytes - self._done_bytes

    def append(self, shelf: Shelf, data: bytes, rows: int, counts: Counts) -> None:
        """Have lines written, or count them as dropped."""
        if self.waiting_bytes + len(data) > self._max_waiting_bytes:
            counts.dropped += rows
            return
        self._give(len(data), _Lines(shelf, data, rows, counts))

    def replace(self, path: Path, data: bytes) -> None:
        """Have a small file replaced as a whole."""
        self._give(len(data), lambda: write_whole(path, data, durable=True))

    def mend(self, folders: Sequence[Path]) -> None:
        """Have the parts closed that killed gateways have left."""
        self._give(0, lambda: _note_orphans(sum(map(close_orphans, folders))))

    def close(self, timeout_s: float = 10.0) -> None:
        """Write all that waits, close the parts and end."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    # --- inner ---

    def _give(self, size: int, what: _Lines | Callable[[], None]) -> None:
        self._given_bytes += size
        self._waiting.append((size, what))
        if not self._wake.is_set():
            self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        settled_s = synced_s = time.monotonic()
        while not self._closing.is_set():
            if self._wake.wait(_SETTLE_S):
                self._wake.clear()
                self._closing.wait(_ROUND_S)  # not for each row: one round takes many
                self._drain()
            now_s = time.monotonic()
            if now_s - settled_s >= _SETTLE_S:
                settled_s = now_s
                is_due = now_s - synced_s >= _SYNC_S
                synced_s = now_s if is_due else synced_s
                self._settle(sync=is_due)
        self._drain()
        for part in self._parts.values():
            self._try(part.close)

    def _drain(self) -> None:
        by_folder: dict[Path, list[_Lines]] = {}
        while self._waiting:
            size, what = self._waiting.popleft()
            if isinstance(what, _Lines):
                by_folder.setdefault(what.shelf.folder, []).append(what)
                continue
            self._try(what)
            self._done_bytes += size
        for some in by_folder.values():
            for at in range(0, len(some), MOST_PIECES):
                self._append(some[at : at + MOST_PIECES])

    def _append(self, some: Sequence[_Lines]) -> None:
        """Write what goes to one folder: with one call, or what can be of it one by one."""
        part = self._part(some[0].shelf)
        try:
            part.write(*[lines.data for lines in some])
        except OSError as error:
            self._complain(error)
            if len(some) > 1:
                for lines in some:
                    self._append([lines])
                return
            some[0].counts.lost += some[0].rows
        else:
            for lines in some:
                lines.counts.written += lines.rows
        self._done_bytes += sum(len(lines.data) for lines in some)

    def _part(self, shelf: Shelf) -> PartWriter:
        part = self._parts.get(shelf.folder)
        if part is None:
            part = PartWriter(shelf.folder, self._names, max_bytes=shelf.max_bytes,
                              max_s=shelf.max_s, keep=shelf.keep)  # fmt: skip
            self._parts[shelf.folder] = part
        return part

    def _settle(self, *, sync: bool) -> None:
        for folder, part in list(self._parts.items()):
            try:
                is_open = part.settle(sync=sync)
            except OSError as error:
                self._complain(error)
                continue
            if not is_open:
                del self._parts[folder]

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if time.monotonic() - self._complained_s >= _COMPLAIN_S:
            self._complained_s = time.monotonic()
            _log.warning("what predictions leave behind cannot be written: %s", error)


def _note_orphans(closed: int) -> None:
    if closed:
        _log.info("closed %d parts of request logs that a killed gateway had left", closed)
