"""A desk: where the gateway itself answers plain predictions of one version, in numbers.

    callers whose heads are known (`lanes`) ─┐   what one turn of the loop brings
    predictions with more to them           ─┴─▶ one call of the arithmetic ─▶ answers, in a row
            └── what the desk cannot answer ─▶ workers

A table that was compiled is answered in less time than it takes to ask a worker. It is numbers
alone, no code of anybody's, so nothing keeps the gateway from doing it: no process is woken, and
nothing is written or read but the caller's socket. Long bodies, other dialects and whatever the
shortcut does not understand are the workers'. Nothing waits beyond the turn in which it came, so
the snapshot that it was allowed by is the one that it is answered by: see `Desks.answer_all`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from mlengine.prediction.gateway.burst import Burst
from mlengine.prediction.gateway.counts import AnswerCounts
from mlengine.prediction.gateway.lanes import Lane, hand_out
from mlengine.prediction.gateway.vigil import Vigil
from mlengine.prediction.gateway.workers import Prediction
from mlengine.runtime.frames import PREDICT
from mlengine.runtime.shortcuts import Shortcut

__all__ = ["MOST_BYTES", "Desk", "Group"]

MOST_BYTES = 4096
"""Of a body: a few rows. What takes longer than asking a worker is not for the gateway."""

_MOST_TOGETHER = 64  # requests in a call


class Group(Protocol):
    """The version: what it counts, and its workers."""

    version: str
    counts: AnswerCounts

    def used(self, requests: int) -> None: ...
    def give(self, prediction: Prediction) -> None: ...


class Desk:
    """Answers what it can of one version at the end of each turn of the loop.

    Args:
        group: Of the version.
        shortcut: Its arithmetic.
        loop: The gateway's.
        burst: That of the callers' connections.
        vigil: That of all workers: who asks a desk is waited for as well.
        head: Returns how answers of a version begin.
        idle_until_s: Returns until when a caller who is answered now may be silent.
    """

    def __init__(
        self, group: Group, shortcut: Shortcut, *, loop: asyncio.AbstractEventLoop, burst: Burst,
        vigil: Vigil, head: Callable[[str], bytes], idle_until_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self.lane = Lane(shortcut.read, self._begin)
        self._group = group
        self._shortcut = shortcut
        self._loop = loop
        self._burst = burst
        self._vigil = vigil
        self._head = head
        self._idle_until_s = idle_until_s
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

    def answer(self) -> None:
        """Answer all that waits."""
        self._is_due = False
        predictions, self._predictions = self._predictions, []
        asked, self._asked = self._asked, []
        callers, asked_in_lane, data = self.lane.take()
        count = len(callers) + len(predictions)
        if not count:
            return
        self._group.used(len(callers))
        answers = self._compute([*asked_in_lane, *asked])
        unanswered = answers.count(None)
        if callers:
            hand_out(
                callers, answers[: len(callers)], self._head(self._group.version),
                self._idle_until_s(),
            )  # fmt: skip
            if unanswered:
                self._hand_on(callers, answers, data)
        if predictions:
            self._tell(predictions, answers[len(callers) :])
        now_s = time.monotonic()
        counts = self._group.counts
        counts.answered(200, now_s - self._since_s, count=count - unanswered)
        counts.at_desk += count - unanswered
        self._vigil.sent(self, now_s)
        self._vigil.heard(self, count, is_last=False)

    # --- inner ---

    def _begin(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._since_s = time.monotonic()
            self._loop.call_soon(self.answer)

    def _compute(self, asked: list[Any]) -> list[bytes | None]:
        answer = self._shortcut.answer
        if len(asked) <= _MOST_TOGETHER:
            return answer(asked)
        parts = range(0, len(asked), _MOST_TOGETHER)
        return [one for at in parts for one in answer(asked[at : at + _MOST_TOGETHER])]

    def _hand_on(self, callers: list[Any], answers: list[bytes | None], data: list[bytes]) -> None:
        """Have the general way answer those whom the shortcut could not."""
        for caller, answer, request in zip(callers, answers, data, strict=False):
            if answer is None and caller.is_waiting:
                self._group.used(-1)  # it is counted where it goes
                caller.is_waiting = False
                caller.received(request)

    def _tell(self, predictions: list[Prediction], answers: list[bytes | None]) -> None:
        self._burst.begin(len(predictions))
        try:
            for prediction, answer in zip(predictions, answers, strict=True):
                if prediction.gone:
                    continue
                if answer is None:
                    self._group.give(prediction)
                else:
                    prediction.answered(200, answer)
        finally:
            self._burst.end()
