"""Port: choose what to try next.

One technology a sibling file; `open_search(name)` finds it. A search keeps no books: all that it
knows is the problem and the history that it is given, so that any process can go on with any
study, and a study can be replayed.

`random`, `grid` and `quasi-random` need the standard library alone; `bayesian` needs numpy and
scipy, and others by name their own packages. All are loaded when they are opened.
"""

from __future__ import annotations

import enum
import importlib
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.tuning.problem import Point, Problem, Tried
from mlengine.tuning.search.needs import PLUGGED, check_needs

__all__ = ["DEFAULT", "How", "Search", "Suggestion", "open_search"]

DEFAULT = "bayesian"

_SEARCHES = {
    "bayesian": ("bayesian", "BayesianSearch"),
    "grid": ("grid", "GridSearch"),
    "quasi-random": ("sobol", "QuasiRandomSearch"),
    "random": ("random", "RandomSearch"),
}
"""Name → module and class."""

_PACKAGES = {"optuna": ("optuna", "OptunaSearch"), "vizier": ("vizier", "VizierSearch")}
"""The same of the packages whose own searches have names: the `PLUGGED` ones."""


class How(enum.StrEnum):
    """Where a suggestion comes from."""

    INITIAL = "initial design"
    MODEL = "model"
    RANDOM = "random"
    GRID = "grid"


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """A point to try, and why.

    Attributes:
        mean: What the model expects of the metric there, in its units; None without a model, and
            with several metrics: what is modelled then is a mixture of them.
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
    4. A point that was tried, or runs, is not suggested again; a space that is finite and was tried
       out whole is exhausted. (A DOUBLE of no more than a few distinct floats may repeat one.)
    5. No history makes it raise or hang: none, all infeasible, constant, huge and tiny values,
       points outside of the space, duplicates, NaN (taken as infeasible).
    """

    def suggest(
        self, problem: Problem, history: Sequence[Tried], count: int = 1
    ) -> list[Suggestion]: ...


def open_search(name: str = DEFAULT) -> Search:
    """Return the search called `name`.

    Args:
        name: `bayesian`, `random`, `grid`, `quasi-random`, or one of the `PLUGGED` ones, such as
            `optuna:TPESampler`.

    Raises:
        InvalidArgument: There is no such search.
        FailedPrecondition: A package that it needs is not installed; the message says how to.

    Example:
        >>> type(open_search("random")).__name__
        'RandomSearch'
    """
    known = [*_SEARCHES, *PLUGGED]
    if name not in known:
        raise InvalidArgument(
            f"There is no search called '{name}'.",
            f"{did_you_mean(name, known)}There are {', '.join(known)}.",
        )
    check_needs(name)
    if name in PLUGGED:
        package, _, rest = name.partition(":")
        return _load(*_PACKAGES[package])(rest)
    return _load(*_SEARCHES[name])()


def _load(module: str, kind: str) -> Callable[..., Search]:
    """Return a search's class; by name, so that nobody who asks for another loads numpy."""
    found: Callable[..., Search] = getattr(importlib.import_module(f"{__name__}.{module}"), kind)
    return found
