"""All desks of a gateway: opened when their versions are asked, forgotten when they are not.

    a version is asked ─▶ its numbers are read, in a thread ─▶ desk ──no use, 15 min──▶ forgotten
                              └── they cannot be ─▶ workers answer, as without a desk

In a desk's lane may be (`Server.may_be_in_lane`) who has a head that is known (`heads`, whose five
reasons hold for lanes as well), and needs no draw among versions and no line in an access log. All
others come by `Inquiry`, where all of that is, and get to the desk behind it. Lanes know heads by a
table that is emptied with every snapshot, and when any desk closes.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from mlengine.prediction.gateway.burst import Burst
from mlengine.prediction.gateway.desk import Books, Desk, Group
from mlengine.prediction.gateway.heads import KnownHead
from mlengine.prediction.gateway.vigil import Vigil
from mlengine.runtime.shortcuts import Shortcut

__all__ = ["Desks", "Holder", "prepare"]

_log = logging.getLogger(__name__)

_IDLE_S = 900.0
_MOST_BYTES = 256 << 20  # of all files that are open
_MOST_HEADS = 4096

Open = Callable[[Path], tuple[Shortcut, int]]


class Holder(Group, Protocol):
    """A group that may have a desk."""

    last_use_s: float

    def desk_opened(self, desk: Desk) -> None: ...
    def desk_closed(self) -> None: ...
    def desk_failed(self) -> None: ...


def prepare() -> Open:
    """Import what a desk needs, numpy before all: a gateway that has none does without."""
    from mlengine.runtime.compiled.desk import open_desk

    return open_desk


def _open(folder: Path) -> tuple[Shortcut, int]:
    return prepare()(folder)


class Desks:
    """Opens and closes desks, and knows the heads that lead to their lanes.

    Args:
        loop: The gateway's.
        burst: That of the callers' connections.
        vigil: That of all workers.
        books: What is kept of predictions, and what says how their answers begin.
        open_: Reads a folder: the arithmetic, and how many bytes it holds.

    Attributes:
        known: What callers look heads up in: head → length of the body, lane.
    """

    def __init__(
        self, *, loop: asyncio.AbstractEventLoop, burst: Burst, vigil: Vigil, books: Books,
        open_: Open = _open,
    ) -> None:  # fmt: skip
        self.known: dict[bytes, tuple[int, Any]] = {}
        self._loop = loop
        self._make = functools.partial(Desk, loop=loop, burst=burst, vigil=vigil, books=books)
        self._open = open_
        # One thread: who reads many at once has the interpreter to himself, and callers wait.
        self._reading: concurrent.futures.ThreadPoolExecutor | None = None
        # Each with the bytes that it holds.
        self._desks: dict[Holder, tuple[Desk, int]] = {}

    def __len__(self) -> int:
        return len(self._desks)

    def open(self, group: Holder, folder: str, wanted: Callable[[], bool]) -> None:
        """Begin to read what a version's desk needs; tell the group when it is there, or why not.

        Args:
            group: Of the version.
            folder: Where its numbers are.
            wanted: Asked at the end: whether the group still wants a desk of this folder.
        """
        if self._reading is None:
            self._reading = concurrent.futures.ThreadPoolExecutor(1, "desk")
        reading = self._reading.submit(self._open, Path(folder))

        def opened(done: concurrent.futures.Future[tuple[Shortcut, int]]) -> None:
            # The loop may have ended meanwhile: nobody asks any more then.
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._opened, group, folder, done, wanted)

        reading.add_done_callback(opened)

    def keep(self, group: Holder, shortcut: Shortcut, held_bytes: int) -> Desk:
        """Have a desk for a group, of arithmetic that holds so many bytes."""
        desk = self._make(group, shortcut)
        self._desks[group] = desk, held_bytes
        group.desk_opened(desk)
        self._make_room()
        return desk

    def know(self, head: bytes, known: KnownHead, desk: Desk) -> None:
        """Let callers with this head into the lane of a desk."""
        if len(self.known) >= _MOST_HEADS:
            self.known.clear()
        self.known[head] = known.body_bytes, desk.lane(known.grant)

    def forget_heads(self) -> None:
        """Let nobody into a lane who was not allowed there anew."""
        self.known.clear()
        for desk, _bytes in self._desks.values():
            desk.forget_lanes()

    def answer_all(self) -> None:
        """Answer what waits at any desk, before what it was allowed by changes."""
        for desk, _bytes in list(self._desks.values()):
            desk.answer()

    def close(self, group: Holder) -> None:
        """Forget a group's desk, if it has one; what waits there is answered first."""
        entry = self._desks.pop(group, None)
        if entry is not None:
            entry[0].answer()
            self.known.clear()
            group.desk_closed()

    def tick(self, now_s: float) -> None:
        """Forget desks that nobody asked for long, and the least used where there are too many."""
        for group in [one for one in self._desks if one.last_use_s + _IDLE_S <= now_s]:
            self.close(group)
        self._make_room()

    def end(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.shutdown(wait=False, cancel_futures=True)

    # --- inner ---

    def _opened(
        self, group: Holder, folder: str,
        done: concurrent.futures.Future[tuple[Shortcut, int]], wanted: Callable[[], bool],
    ) -> None:  # fmt: skip
        if not wanted():
            return
        try:
            shortcut, held_bytes = done.result()
        except concurrent.futures.CancelledError:
            return
        except Exception as error:  # workers answer without it, whatever is wrong
            _log.warning("no desk for %s: %s: %s", group.version, folder, error)
            group.desk_failed()
            return
        _log.info("answers of %s are computed here: %s", group.version, folder)
        self.keep(group, shortcut, held_bytes)

    def _make_room(self) -> None:
        if sum(held for _desk, held in self._desks.values()) > _MOST_BYTES:
            for group in sorted(self._desks, key=lambda one: one.last_use_s):
                if sum(held for _desk, held in self._desks.values()) <= _MOST_BYTES:
                    return
                self.close(group)
