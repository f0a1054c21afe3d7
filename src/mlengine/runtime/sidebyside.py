"""Calls of a model that run at the same time, each in a thread and on a core of its own.

A call that several cores share waits for the slowest of them after each operation; calls that share
nothing wait for nobody. So who is alone gets all cores, and who has company one: two pictures side
by side on two cores take four fifths of what one after the other takes.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlengine.runtime.answers import Answer, error_answer, unforeseen

__all__ = ["SideBySide"]


class SideBySide:
    """At most so many calls at a time.

    Args:
        answer: Answers a body; several threads call it at once.
        calls: How many.
    """

    def __init__(self, answer: Callable[[bytes], Answer], calls: int) -> None:
        self.running = 0
        """Calls that were started, and whose answers nobody has taken."""
        self.wake: Callable[[], None] = lambda: None
        """Called by a thread whose call has ended."""
        self._answer, self._calls = answer, calls
        self._pool = ThreadPoolExecutor(calls, thread_name_prefix="predict")
        self._ended: collections.deque[tuple[Any, Answer | MemoryError]] = collections.deque()

    @property
    def has_room(self) -> bool:
        return self.running < self._calls

    def start(self, whose: Any, body: bytes) -> None:
        """Begin a call; `finished` has its answer when it has ended."""
        self.running += 1
        self._pool.submit(self._call, whose, body)

    def finished(self) -> list[tuple[Any, Answer]]:
        """Take the answers of calls that have ended.

        Raises:
            MemoryError: That of a call.
        """
        found = []
        while self._ended:
            whose, answer = self._ended.popleft()
            if isinstance(answer, MemoryError):
                raise answer
            found.append((whose, answer))
        self.running -= len(found)
        return found

    def _call(self, whose: Any, body: bytes) -> None:
        answer: Answer | MemoryError
        try:
            answer = self._answer(body)
        except MemoryError as error:  # the state of the process is unknown: whoever takes it ends
            answer = error
        except Exception as error:
            answer = error_answer(500, unforeseen(error))
        self._ended.append((whose, answer))
        self.wake()
