"""Port: choose what to try next.

One technology a sibling file; `open_search(name)` finds it. A search keeps no books: all that it
knows is the problem and the history that it is given, so that any process can go on with any
study, and a study can be replayed.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import msgspec

from mlengine.tuning.problem import Point, Problem, Tried

__all__ = ["How", "Search", "Suggestion"]


class How(enum.StrEnum):
    """Where a suggestion comes from."""

    INITIAL = "initial design"
    MODEL = "model"
    RANDOM = "random"
    GRID = "grid"


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """A point to try, and why.

    Attributes:
        mean: What the model expects of the (first) metric there, in its units; None without one.
        spread: Standard deviation of that.
        why: A remark for the log, such as why a fallback was taken; may be empty.
    """

    point: Point
    how: How
    mean: float | None = None
    spread: float | None = None
    why: str = ""


class Search(Protocol):
    """Contract, held by `tests/conformance/search` on every technology:

    1. Every point lies in the space: active parameters only, each of its kind and range.
    2. The same problem and history give the same suggestions, in any process; the order in which
       pending trials stand in the history does not matter, nor does what was suggested before.
    3. `count` suggestions are returned, fewer only if the space has no further point (grids, and
       spaces that were tried out whole); none means that it is exhausted.
    4. Points of trials that are pending or infeasible are not suggested again while others are
       left; nor are finished ones, unless the space is finite and small or the metric is noisy.
    5. No history makes it raise or hang: none, all infeasible, constant, huge and tiny values,
       points outside of the space, duplicates, NaN (taken as infeasible).
    """

    def suggest(
        self, problem: Problem, history: Sequence[Tried], count: int = 1
    ) -> list[Suggestion]: ...
