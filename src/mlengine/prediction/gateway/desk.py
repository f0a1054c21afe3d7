"""A desk: where the gateway itself answers plain predictions of one version, in numbers.

    callers whose heads are known, in lanes ─┐   what one turn of the loop brings
    predictions with more to them           ─┴─▶ calls of the arithmetic ─▶ answers, in a row
            └── what the desk cannot answer ─▶ workers

A table that was compiled is answered in less time than it takes to ask a worker. It is numbers
alone, no code of anybody's, so nothing keeps the gateway from doing it: no process is woken, and
nothing is written or read but the caller's socket. Long bodies, other dialects and whatever the
shortcut does not understand are the workers'. Nothing waits beyond the turn in which it came, so
the snapshot that it was allowed by is the one that it is answered by: see `Desks.answer_all`.

There is a lane for the engine's own token, and one for each key: who waits in one lane needs the
same. What a quota has left, the name that a prediction has in a request log, and its row, are found
for all of a turn when their answers are there. Whoever has nothing left, or whose key has expired,
goes the general way, and hears of it there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Protocol

from mlengine.prediction.gateway.answers import GoodHeads
from mlengine.prediction.gateway.burst import Burst
from mlengine.prediction.gateway.counts import AnswerCounts
from mlengine.prediction.gateway.lanes import Lane, hand_out
from mlengine.prediction.gateway.quota import Quotas
from mlengine.prediction.gateway.requestlog import RequestLogs
from mlengine.prediction.gateway.vigil import Vigil
from mlengine.prediction.gateway.workers import Prediction
from mlengine.prediction.routing import Grant
from mlengine.runtime.compiled import DESK_BYTES
from mlengine.runtime.frames import PREDICT
from mlengine.runtime.shortcuts import Shortcut

__all__ = ["MOST_BYTES", "Books", "Desk", "Group"]

MOST_BYTES = DESK_BYTES
"""Of a body."""

_log = logging.getLogger(__name__)

_MOST_TOGETHER = 64  # requests in a call


class Group(Protocol):
    """The version: what it counts, and its workers."""

    version: str
    counts: AnswerCounts

    def used(self, requests: int) -> None: ...
    def give(self, prediction: Prediction) -> None: ...


class Books(Protocol):
    """What is kept of predictions, and how answers begin: the gateway's `Server`."""

    quotas: Quotas
    logs: RequestLogs
    good_heads: GoodHeads

    def idle_until_s(self) -> float: ...


class Desk:
    """Answers what it can of one version at the end of each turn of the loop.

    Args:
        group: Of the version.
        shortcut: Its arithmetic.
        loop: The gateway's.
        burst: That of the callers' connections.
        vigil: That of all workers: who asks a desk is waited for as well.
        books: What is kept of predictions, and what says how their answers begin.
    """

    def __init__(
        self, group: Group, shortcut: Shortcut, *, loop: asyncio.AbstractEventLoop, burst: Burst,
        vigil: Vigil, books: Books,
    ) -> None:  # fmt: skip
        self._lanes: dict[str, tuple[Grant | None, Lane]] = {}  # of a key, or of the token: ""
        self._entered: list[tuple[Grant | None, Lane]] = []  # those where somebody waits
        self._group = group
        self._shortcut = shortcut
        self._loop = loop
        self._burst = burst
        self._vigil = vigil
        self._books = books
        self._predictions: list[Prediction] = []
        self._asked: list[Any] = []
        self._is_due = False
        self._since_s = 0.0

    def take(self, prediction: Prediction) -> bool:
        """Let a prediction wait for the end of this turn; False: it is for a worker."""
        if prediction.kind != PREDICT or len(prediction.body) > MOST_BYTES:
            return False
        asked = self._shortcut.read(prediction.body)
        if asked is None:
            return False
        self._predictions.append(prediction)
        self._asked.append(asked)
        self._begin()
        return True

    def lane(self, grant: Grant | None) -> Lane:
        """Return where callers with a key wait, or those with the token."""
        name = grant.key if grant is not None else ""
        found = self._lanes.get(name)
        if found is not None and found[0] is grant:
            return found[1]

        def begin() -> None:
            self._entered.append((grant, lane))
            self._begin()

        lane = Lane(self._shortcut.read, begin)
        self._lanes[name] = grant, lane
        return lane

    def forget_lanes(self) -> None:
        """Let nobody wait in a lane who is not let in anew; what waits is answered all the same."""
        self._lanes.clear()

    def answer(self) -> None:
        """Answer all that waits."""
        self._is_due = False
        begun_s, count = self._since_s, 0
        entered, self._entered = self._entered, []
        for grant, lane in entered:
            waiting = lane.take()
            try:
                count += self._answer_lane(grant, *waiting)
            except Exception:
                # Where it has come to is unknown; unanswered they would keep their connections.
                _log.exception("answering %s", self._group.version)
                for caller in waiting[0]:
                    if caller.is_waiting:
                        caller.transport.abort()
        if self._predictions:
            count += self._answer_predictions()
        if not count:
            return
        now_s = time.monotonic()
        counts = self._group.counts
        counts.answered(200, now_s - begun_s, count=count)
        counts.at_desk += count
        self._vigil.sent(self, now_s)
        self._vigil.heard(self, count, is_last=False)

    # --- inner ---

    def _begin(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._since_s = time.monotonic()
            self._loop.call_soon(self.answer)

    def _compute(self, asked: list[Any]) -> list[bytes | None]:
        answer, count = self._shortcut.answer, len(asked)
        try:
            if count <= _MOST_TOGETHER:
                return answer(asked)
            parts = range(0, count, _MOST_TOGETHER)
            return [one for at in parts for one in answer(asked[at : at + _MOST_TOGETHER])]
        except Exception:  # a worker may have the memory that is missing here
            _log.exception("answering %d predictions of %s", count, self._group.version)
            return [None] * count

    def _answer_lane(
        self, grant: Grant | None, callers: list[Any], asked: list[Any], bodies: list[bytes],
        data: list[bytes],
    ) -> int:  # fmt: skip
        """Answer those who wait in a lane; return how many."""
        answers, books = self._compute(asked), self._books
        handed_on: list[tuple[Any, bytes]] = []
        log = books.logs.found.get(self._group.version)
        if grant is not None or log is not None:  # what is counted and kept is of those who wait
            places = [place for place, caller in enumerate(callers) if not caller.is_waiting]
            _part(places, callers, answers, bodies, data)
        if None in answers:
            places = [place for place, answer in enumerate(answers) if answer is None]
            handed_on = _part(places, callers, answers, bodies, data)
        lines: list[bytes] = []
        if grant is not None:
            lines = books.quotas.take_many(grant, len(callers))
            allowed = len(lines)
            if allowed < len(callers):
                places = list(range(allowed, len(callers)))
                handed_on += _part(places, callers, answers, bodies, data)
        if log is not None:
            lines = log.keep_all(lines, bodies, answers)
        self._group.used(len(callers))
        head = books.good_heads[self._group.version]
        count = hand_out(callers, answers, head, books.idle_until_s(), lines)
        for caller, request in handed_on:
            if caller.is_waiting:
                caller.is_waiting = False
                caller.received(request)
        return count

    def _answer_predictions(self) -> int:
        """Answer those who came by themselves; return how many."""
        predictions, self._predictions = self._predictions, []
        asked, self._asked = self._asked, []
        count = 0
        self._burst.begin(len(predictions))
        try:
            for prediction, answer in zip(predictions, self._compute(asked), strict=True):
                if prediction.gone:
                    continue
                if answer is None:
                    self._group.give(prediction)
                else:
                    prediction.answered(200, answer)
                    count += 1
        finally:
            self._burst.end()
        return count


def _part(
    places: list[int], callers: list[Any], answers: list[bytes | None], bodies: list[bytes],
    data: list[bytes],
) -> list[tuple[Any, bytes]]:  # fmt: skip
    """Take some out of all lists; return who they are, and what they have sent."""
    parted = [(callers[place], data[place]) for place in places]
    for place in reversed(places):
        del callers[place], answers[place], bodies[place], data[place]
    return parted
