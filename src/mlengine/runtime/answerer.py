"""Turns predict bodies into answers: alone, or several with one call of the model.

    body ─▶ shortcut reads it                 ─▶ direct: one call of the model's own arithmetic
         ─▶ a model whose requests may join   ─▶ joined: the instances of equal calls, one after
         │                                       the other; when that fails, each by itself
         └▶ anything else                     ─▶ alone; where the model can be asked so, a few side
                                                 by side as soon as there are two (`sidebyside`)

Whatever way is taken, a caller gets what it would have got alone, and a bad row fails alone.

Where a call is short, `_STRIDE` bodies at a time are read and answered: who sends the answers on
then works at the same time as this process. With 64 bodies read before the first is answered, the
two wait for each other. A call that costs more is worth sharing, and so is one that requests were
told to wait for.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

from mlengine.runtime.answers import Answer, error_answer, failure, predictions_answer, unforeseen
from mlengine.runtime.batching import Batches
from mlengine.runtime.dialects import answer_frame
from mlengine.runtime.failurelog import FailureLog
from mlengine.runtime.frameworks import Model, ask
from mlengine.runtime.instances import Request, RequestError, parse_request
from mlengine.runtime.prediction_error import PredictionError
from mlengine.runtime.shortcuts import Shortcut
from mlengine.runtime.sidebyside import SideBySide
from mlengine.runtime.strictjson import dumps

__all__ = ["DEFAULT_MAX_BATCH_SIZE", "Answerer", "predict"]

DEFAULT_MAX_BATCH_SIZE = 1024
_DIRECT = "direct"
_STRIDE = 16  # of 4 to 32, 64 callers get the most answers with 12 to 24
_SHORT_S = 100e-6  # of so many: the gateway takes about as long to send their answers on
_WHOLE_TURNS = 256  # after a call that was not; then it is tried again
_new = tuple.__new__  # of a named tuple in half the time
_SIZE_BUCKETS = 16  # batches of 1, 2, 3–4, 5–8, … requests


def predict(
    model: Model, body: bytes, *, max_answer_bytes: int, failures: FailureLog | None = None
) -> Answer:
    """Answer one predict body; whatever the model does, short of `MemoryError`, is an answer.

    Args:
        model: As loaded.
        body: The request's.
        max_answer_bytes: Longest body of an answer.
        failures: Tells the version's log why; None: this is the first.
    """
    try:
        request = parse_request(body)
    except RequestError as error:
        return error_answer(400, str(error))
    return _alone(model, request, max_answer_bytes, failures or FailureLog())


class _Waiting(NamedTuple):
    whose: Any
    body: bytes
    asked: Any  # what the shortcut read, a `Request`, or None


class Answerer:
    """The predict requests that wait for one model, and how they are answered.

    Args:
        model: As loaded.
        shortcut: Its direct way, if it has one.
        max_batch_size: Most instances in a call that requests share.
        deadline_s: How long a request may wait for others; 0: not at all.
        max_answer_bytes: Longest body of an answer.
    """

    def __init__(
        self, model: Model, *, max_answer_bytes: int, shortcut: Shortcut | None = None,
        max_batch_size: int = DEFAULT_MAX_BATCH_SIZE, deadline_s: float = 0.0,
    ) -> None:  # fmt: skip
        self._model = model
        self._shortcut = shortcut
        self._read_directly = shortcut.read if shortcut is not None else None
        self._count_directly = shortcut.count if shortcut is not None else len
        self._joinable = bool(getattr(model, "joinable", False))
        self._lane_of = getattr(model, "lane_of", None)
        self._max_answer_bytes = max_answer_bytes
        self._failures = FailureLog()
        self._batches: Batches[_Waiting] = Batches(max_size=max_batch_size, deadline_s=deadline_s)
        self._unread: collections.deque[tuple[Any, bytes, float]] = collections.deque()
        self._is_shared = deadline_s > 0 or shortcut is None  # calls cost, or are to be few
        self._side: SideBySide | None = None
        if beside := getattr(model, "beside", None):
            self._side = SideBySide(lambda body: self._general(body, beside.model), beside.calls)
        self._apart: collections.deque[_Waiting] = collections.deque()  # for `_side`, or alone
        self._is_expecting: Callable[[], bool] = lambda: False
        self._whole_turns = 0  # so many times all that waits is read at once: calls are long
        self._calls = [0] * _SIZE_BUCKETS
        self._requests = 0

    def add(self, whose: Any, body: bytes, *, now_s: float) -> None:
        """Let a predict body wait; `whose` comes back with its answer."""
        self._unread.append((whose, body, now_s))

    def attend(self, *, wake: Callable[[], None], is_expecting: Callable[[], bool]) -> None:
        """Answer for somebody who waits for other things as well.

        Args:
            wake: Called, by any thread, when `answers` has something new to yield.
            is_expecting: Tells whether another request has begun to arrive.
        """
        self._is_expecting = is_expecting
        if self._side is not None:
            self._side.wake = wake

    def answers(self, *, now_s: float) -> Iterator[list[tuple[Any, Answer]]]:
        """Call the model as often as it takes for what is due; yield each call's answers."""
        while True:
            read, refused = self._read_some()
            if refused:
                yield refused
            called_s = 0.0
            while batch := self._batches.take(now_s=now_s):
                begun_s = time.perf_counter()
                answers = self._answer_whatever_comes(batch)
                called_s += time.perf_counter() - begun_s
                self._count(len(batch))
                yield answers
            if self._side is not None:
                yield from self._answers_apart(self._side)
            if called_s and read >= _STRIDE and not self._is_shared:
                if self._whole_turns:
                    self._whole_turns -= 1
                elif called_s * _STRIDE / read >= _SHORT_S:
                    self._whole_turns = _WHOLE_TURNS
            if not self._unread:
                return

    def converse(self, payload: bytes | None, *, max_body_bytes: int) -> Answer:
        """Answer the payload of a `CALL` frame at once: what it asks is its dialect's to know."""
        return answer_frame(
            self._model, payload, max_body_bytes=max_body_bytes,
            max_answer_bytes=self._max_answer_bytes, failures=self._failures,
        )  # fmt: skip

    def wait_s(self, *, now_s: float) -> float | None:
        """Return how long nothing need be done; None when nothing waits."""
        return 0.0 if self._unread else self._batches.wait_s(now_s=now_s)

    def stats(self) -> dict[str, Any]:
        """Return counts: requests, calls of the model by the power of two of their requests."""
        return {"requests": self._requests, "calls": self._calls, "waiting": len(self)}

    def __len__(self) -> int:
        return len(self._unread) + len(self._batches) + len(self._apart)

    # --- inner ---

    def _count(self, requests: int) -> None:
        self._requests += requests
        self._calls[min((requests - 1).bit_length(), _SIZE_BUCKETS - 1)] += 1

    def _answers_apart(self, side: SideBySide) -> Iterator[list[tuple[Any, Answer]]]:
        """Begin what there is room for; yield what has ended, and the answer to who is alone."""
        ended = side.finished()
        while self._apart and side.has_room and (side.running or self._has_company()):
            waiting = self._apart.popleft()
            side.start(waiting.whose, waiting.body)
            self._count(1)
        if ended:
            yield ended
        if self._apart and not side.running:
            self._count(1)
            yield self._answer_whatever_comes([self._apart.popleft()])

    def _has_company(self) -> bool:
        return len(self._apart) > 1 or self._is_expecting()

    def _read_some(self) -> tuple[int, list[tuple[Any, Answer]]]:
        """Read the bodies that come next; return how many, and answers to those that are bad."""
        unread, refused = self._unread, []
        direct: list[tuple[_Waiting, int, float]] = []
        read, count_of = self._read_directly, self._count_directly
        count = len(unread)
        if not self._is_shared and not self._whole_turns:
            count = min(_STRIDE, count)
        for _ in range(count):
            whose, body, now_s = unread.popleft()
            try:
                asked = read(body) if read is not None else None
                if asked is not None:
                    direct.append((_new(_Waiting, (whose, body, asked)), count_of(asked), now_s))
                elif self._joinable:
                    self._add_joinable(whose, body, now_s)
                else:
                    self._add_alone(_Waiting(whose, body, None))
            except MemoryError:
                raise
            except Exception as error:
                refused.append((whose, error_answer(500, unforeseen(error))))
        if direct:
            self._batches.add_all(_DIRECT, direct)
        return count, refused

    def _add_joinable(self, whose: Any, body: bytes, now_s: float) -> None:
        try:
            request = parse_request(body)
        except RequestError:
            self._add_alone(_Waiting(whose, body, None))
            return
        lane: Hashable = dumps(request.kwargs) if request.kwargs else b""
        if self._lane_of is not None:
            own = self._lane_of(request.instances)
            if own is None:
                self._add_alone(_Waiting(whose, body, None))
                return
            lane = (lane, own)
        waiting = _Waiting(whose, body, request)
        self._batches.add(lane, waiting, max(len(request.instances), 1), now_s=now_s)

    def _add_alone(self, waiting: _Waiting) -> None:
        if self._side is not None:
            self._apart.append(waiting)
            return
        # A lane of its own, and one that is due: there is nobody to wait for.
        self._batches.add(object(), waiting, 1, now_s=float("-inf"))

    def _answer_whatever_comes(self, batch: list[_Waiting]) -> list[tuple[Any, Answer]]:
        try:
            return self._answer(batch)
        except MemoryError:
            raise
        except Exception as error:
            refused = error_answer(500, unforeseen(error))
            if len(batch) == 1:
                return [(batch[0].whose, refused)]
        # Whoever can be answered alone is.
        return [pair for waiting in batch for pair in self._answer_whatever_comes([waiting])]

    def _answer(self, batch: list[_Waiting]) -> list[tuple[Any, Answer]]:
        asked = batch[0].asked
        if asked is None:
            answers = [self._general(waiting.body) for waiting in batch]
        elif isinstance(asked, Request):
            answers = self._joined([waiting.asked for waiting in batch])
        else:
            return self._direct(batch)
        return [(waiting.whose, answer) for waiting, answer in zip(batch, answers, strict=True)]

    def _general(self, body: bytes, model: Model | None = None) -> Answer:
        most = self._max_answer_bytes
        return predict(model or self._model, body, max_answer_bytes=most, failures=self._failures)

    def _direct(self, batch: list[_Waiting]) -> list[tuple[Any, Answer]]:
        assert self._shortcut is not None
        answers = self._shortcut.answer([asked for _whose, _body, asked in batch])
        most = self._max_answer_bytes
        return [
            (whose, _new(Answer, (200, answer)) if answer is not None and len(answer) <= most
             else self._general(body))
            for (whose, body, _asked), answer in zip(batch, answers, strict=True)
        ]  # fmt: skip

    def _joined(self, requests: list[Request]) -> list[Answer]:
        model, most, failures = self._model, self._max_answer_bytes, self._failures
        if len(requests) > 1:
            instances = [instance for request in requests for instance in request.instances]
            try:
                predictions = ask(model, instances, requests[0].kwargs)
            except PredictionError:
                pass  # somebody's row is bad: whose will show
            else:
                return list(_split(requests, predictions, most, failures))
        return [_alone(model, request, most, failures) for request in requests]


def _alone(model: Model, request: Request, max_answer_bytes: int, failures: FailureLog) -> Answer:
    try:
        predictions = ask(model, request.instances, request.kwargs)
        return predictions_answer(predictions, max_bytes=max_answer_bytes)
    except PredictionError as error:
        failures.note(error)
        return failure(error)


def _split(
    requests: list[Request], predictions: list[Any], max_answer_bytes: int, failures: FailureLog
) -> Iterator[Answer]:
    at = 0
    for request in requests:
        end = at + len(request.instances)
        try:
            yield predictions_answer(predictions[at:end], max_bytes=max_answer_bytes)
        except PredictionError as error:
            failures.note(error)
            yield failure(error)
        at = end
