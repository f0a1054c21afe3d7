"""Explanations that wait for their turn: one call of the model each time predictions are served.

An explanation is hundreds of rows. It must not stand before a prediction, so the worker asks for
one step at a time, and `Pace` keeps a step short. The oldest is finished first; one whose caller
has stopped waiting is not begun. What waits is bounded, so that it cannot take the memory that
predictions need.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from mlengine.runtime.answers import Answer, error_answer, failure, unforeseen
from mlengine.runtime.failurelog import FailureLog
from mlengine.runtime.instances import RequestError, parse_request
from mlengine.runtime.prediction_error import PredictionError, run_error
from mlengine.runtime.strictjson import StrictJsonError, dumps

if TYPE_CHECKING:
    from mlengine.runtime.explain.calls import Pace, Steps

__all__ = ["Explanations", "Method"]

_MAX_WAITING_BYTES = 64 << 20

Method = Callable[[list[Any], dict[str, Any], "Pace"], "Steps"]
"""Explains instances, a call of the model a step; a request's other keys go to the model."""


class _Waiting(NamedTuple):
    whose: Any
    body: bytes
    until_s: float


class Explanations:
    """What waits to be explained by one worker.

    Args:
        method: How; None where the version has no explanationConfig.
        max_answer_bytes: Longest body of an answer.
        max_rows: Most rows of one call of the model.
        timeout_s: How long a caller waits.
    """

    def __init__(
        self, method: Method | None, *, max_answer_bytes: int, max_rows: int = 1024,
        timeout_s: float = 60.0,
    ) -> None:  # fmt: skip
        self._method = method
        self._max_answer_bytes = max_answer_bytes
        self._max_rows = max_rows
        self._timeout_s = timeout_s
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._waiting_bytes = 0
        self._failures = FailureLog("Explanation")
        self._steps: Steps | None = None  # of the first that waits
        self._pace: Pace | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, whose: Any, body: bytes, *, now_s: float) -> Answer | None:
        """Let a body wait; `whose` comes back with its answer. Return one at once if all is full.

        One body is never too long for a queue that is empty.
        """
        if self._waiting and self._waiting_bytes + len(body) > _MAX_WAITING_BYTES:
            return error_answer(
                429,
                f"{len(self._waiting)} explanations of {self._waiting_bytes} bytes wait for their "
                f"turn already, and {_MAX_WAITING_BYTES} bytes may. Try again in a moment, or "
                "give the version more nodes.",
            )
        self._waiting_bytes += len(body)
        self._waiting.append(_Waiting(whose, body, now_s + self._timeout_s))
        return None

    def step(self, *, now_s: float) -> list[tuple[Any, Answer]]:
        """Call the model once for the oldest; return its answer when that was the last call."""
        if not self._waiting:
            return []
        first = self._waiting[0]
        try:
            answer = self._advance(first) if now_s < first.until_s else _too_late(self._timeout_s)
        except MemoryError:
            raise
        except Exception as error:
            answer = error_answer(500, unforeseen(error))
        if answer is None:
            return []
        self._waiting.popleft()
        self._waiting_bytes -= len(first.body)
        self._steps = None
        return [(first.whose, answer)]

    def _advance(self, first: _Waiting) -> Answer | None:
        try:
            if self._steps is None:
                self._steps = self._begin(first.body)
            next(self._steps)
        except StopIteration as end:
            return self._written(end.value)
        except RequestError as error:
            return error_answer(400, str(error))
        except PredictionError as error:
            self._failures.note(error)
            return _failed(error)
        except MemoryError:
            raise
        except BaseException as error:  # as in `ask`: a model that exits must not end its worker
            failed = run_error(f"{type(error).__name__}: {error}")
            failed.__cause__ = error
            self._failures.note(failed)
            return _failed(failed)
        return None

    def _begin(self, body: bytes) -> Steps:
        if self._method is None:
            raise RequestError(
                "The version has no explanationConfig. Create one that says how predictions are "
                "explained: mlengine versions create VERSION --explanation-method "
                "sampled-shapley ..."
            )
        request = parse_request(body)
        if self._pace is None:
            from mlengine.runtime.explain.calls import Pace

            self._pace = Pace(self._max_rows)
        # Called also for no instances: it refuses keys that are none of its own.
        steps = self._method(request.instances, request.kwargs, self._pace)
        return steps if request.instances else _nothing()

    def _written(self, explanations: list[dict[str, Any]]) -> Answer:
        try:
            body = dumps({"explanations": explanations})
        except StrictJsonError as error:
            return error_answer(400, f"Explanation failed: {error}")
        if len(body) > self._max_answer_bytes:
            return error_answer(
                400,
                f"Explanation failed: the answer has {len(body)} bytes, the limit is "
                f"{self._max_answer_bytes}. Send fewer instances.",
            )
        return Answer(200, body)


def _nothing() -> Steps:
    yield from ()
    return []


def _failed(error: PredictionError) -> Answer:
    answer = failure(error)
    return answer._replace(body=answer.body.replace(b"Prediction failed", b"Explanation failed", 1))


def _too_late(timeout_s: float) -> Answer:
    return error_answer(
        504, f"The explanation was not ready within {timeout_s:g} s. Send fewer instances."
    )
