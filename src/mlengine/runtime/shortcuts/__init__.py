"""Seam: answer many plain requests with one call of a model's own arithmetic.

A library's `predict` spends most of its time on checks that the worker has already made. A shortcut
goes from the bytes of many requests to the bytes of their answers without them. It is taken only
where a check when the model is loaded has shown that it gives what the library's call gives, on the
golden rows and on random ones; whatever it does not understand goes the general way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["Shortcut"]


class Shortcut(Protocol):
    """Contract, held by ``tests/conformance/shortcuts`` for every sibling:

    1. `read` returns what a body asks for, in a form of the shortcut's own, or None where the body
       is anything but the plain case: another key, a value of another type, a row of another
       width, JSON that is not strict. It never raises.
    2. `count` is the number of instances in what `read` returned.
    3. `answer` takes what `read` returned for several requests and returns the JSON body of each
       answer, in their order: the very bytes of the general way. None stands for a request that is
       to go the general way, an answer that JSON cannot carry, say. It never raises but
       `MemoryError`.
    """

    def read(self, body: bytes) -> Any | None: ...
    def count(self, asked: Any) -> int: ...
    def answer(self, asked: Sequence[Any]) -> list[bytes | None]: ...
