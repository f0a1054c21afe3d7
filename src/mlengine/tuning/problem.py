"""The words of tuning as values: a space of parameters, what is sought in it, what was tried.

Pure data; what follows from it is `space`'s (which values are allowed, how they lie on a unit
scale) and `search`'s (what to try next).
"""

from __future__ import annotations

import enum

import msgspec

__all__ = ["Goal", "Kind", "Metric", "Parameter", "Point", "Problem", "Scale", "Tried", "Value"]

Value = float | int | str
"""One parameter's value: int for INTEGER, float for DOUBLE and DISCRETE, str for CATEGORICAL."""

Point = dict[str, Value]
"""Parameter name → value, of the parameters that are active; in the order of the space."""


class Kind(enum.StrEnum):
    """What values a parameter takes."""

    DOUBLE = "DOUBLE"
    INTEGER = "INTEGER"
    CATEGORICAL = "CATEGORICAL"
    DISCRETE = "DISCRETE"


class Scale(enum.StrEnum):
    """How a numeric parameter's range is spread over the unit interval."""

    LINEAR = "LINEAR"
    LOG = "LOG"
    REVERSE_LOG = "REVERSE_LOG"
    """Spreads out the values near the top of the range."""


class Goal(enum.StrEnum):
    """Which way is better."""

    MAXIMIZE = "MAXIMIZE"
    MINIMIZE = "MINIMIZE"


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One dimension of a space.

    Attributes:
        name: Unique among parameters that may be active together.
        low: Smallest value of DOUBLE and INTEGER, inclusive.
        high: Largest, inclusive; may equal `low`.
        values: Of CATEGORICAL (strings) and DISCRETE (floats, strictly increasing).
        parent: Name of the parameter that this one depends on, the nearest before it that is
            called so; empty: it is always active.
        when: It is active if its parent is, and has one of these values.
    """

    name: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    values: tuple[Value, ...] = ()
    scale: Scale = Scale.LINEAR
    parent: str = ""
    when: tuple[Value, ...] = ()


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is measured of a trial, and which way is better."""

    name: str
    goal: Goal = Goal.MAXIMIZE


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be found: the best points of a space by one metric or several.

    Attributes:
        parameters: Parents before their children.
        metrics: One, or several for a Pareto front.
        seed: All randomness of a search follows from it, the history and nothing else.
    """

    parameters: tuple[Parameter, ...]
    metrics: tuple[Metric, ...]
    seed: int = 0


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One trial as a search sees it.

    Attributes:
        number: Its id: 1, 2, … in the order in which the trials began.
        point: May lie outside of the space: somebody chose it, or the space was another.
        values: One a metric, in the problem's order and units, once it ended; None while it runs.
        infeasible: It ended without a value because its point cannot work; `values` is None.
        noise: Standard error of each value, where it is known; empty: unknown.
    """

    number: int
    point: Point
    values: tuple[float, ...] | None = None
    infeasible: bool = False
    noise: tuple[float, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether it still runs."""
        return self.values is None and not self.infeasible
