"""Hypothesis strategies for what tuning works on: spaces, problems, histories of any kind."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
from hypothesis import strategies as st

from mlengine.tuning.problem import Goal, Kind, Metric, Parameter, Point, Problem, Scale, Tried
from mlengine.tuning.space import Space

__all__ = ["histories", "problems", "spaces"]

_NAMES = "abcdefgh"


@st.composite
def _doubles(draw: st.DrawFn, name: str) -> Parameter:
    scale = draw(st.sampled_from(Scale))
    smallest = -1e6 if scale is Scale.LINEAR else 1e-6
    low, high = sorted(draw(st.floats(smallest, 1e6, allow_subnormal=False)) for _ in range(2))
    if high - low < 1e-3 * max(abs(low), abs(high), 1e-6):
        high = low + max(1.0, abs(low))  # too few floats between them to tell points apart
    return Parameter(name=name, kind=Kind.DOUBLE, low=low, high=high, scale=scale)


@st.composite
def _integers(draw: st.DrawFn, name: str) -> Parameter:
    scale = draw(st.sampled_from(Scale))
    low = draw(st.integers(-20 if scale is Scale.LINEAR else 1, 20))
    high = low + draw(st.sampled_from([0, 1, 2, 5, 1000]))
    return Parameter(name=name, kind=Kind.INTEGER, low=low, high=high, scale=scale)


@st.composite
def _listed(draw: st.DrawFn, name: str) -> Parameter:
    if draw(st.booleans()):
        values: tuple[Any, ...] = tuple("pqrst"[: draw(st.integers(1, 5))])
        return Parameter(name=name, kind=Kind.CATEGORICAL, values=values)
    numbers = draw(st.lists(st.integers(1, 50), min_size=1, max_size=5, unique=True))
    values = tuple(float(number) for number in sorted(numbers))
    scale = draw(st.sampled_from(Scale))
    return Parameter(name=name, kind=Kind.DISCRETE, values=values, scale=scale)


@st.composite
def _parameters(draw: st.DrawFn, finite: bool, most: int) -> tuple[Parameter, ...]:
    parameters: list[Parameter] = []
    for name in _NAMES[: draw(st.integers(1, most))]:
        kinds = [_integers(name), _listed(name)] if finite else [_integers(name), _listed(name), _doubles(name)]  # fmt: skip # noqa: E501
        parameter = draw(st.one_of(kinds))
        parents = [p for p in parameters if p.kind is not Kind.DOUBLE]
        if parents and draw(st.booleans()):
            parameter = draw(_below(draw(st.sampled_from(parents)), parameter))
        parameters.append(parameter)
    if draw(st.integers(0, 3)) == 3:
        parameters += draw(_namesakes())
    return tuple(parameters)


@st.composite
def _below(draw: st.DrawFn, parent: Parameter, child: Parameter) -> Parameter:
    choice = parent.values or (int(parent.low), int(parent.high))
    when = draw(st.lists(st.sampled_from(choice), min_size=1, max_size=3, unique=True))
    return msgspec.structs.replace(child, parent=parent.name, when=tuple(when))


@st.composite
def _namesakes(draw: st.DrawFn) -> list[Parameter]:
    """Draw a choice whose two branches have parents, and their children, of the same names."""
    found = [Parameter(name="x", kind=Kind.CATEGORICAL, values=("p", "q"))]
    for value in found[0].values:
        branch = draw(st.one_of(_integers("y"), _listed("y")))
        branch = msgspec.structs.replace(branch, parent="x", when=(value,))
        leaf = draw(st.one_of(_integers("z"), _listed("z")))
        found += [branch, draw(_below(branch, leaf))]
    return found


def spaces(*, finite: bool = False, most: int = 6) -> st.SearchStrategy[Space]:
    """Any space of up to `most` parameters; `finite`: without DOUBLE."""
    return _parameters(finite, most).map(Space)


@st.composite
def problems(draw: st.DrawFn, *, finite: bool = False, most: int = 6, metrics: int = 2) -> Problem:
    """Any problem with up to `metrics` metrics."""
    goals = draw(st.lists(st.sampled_from(Goal), min_size=1, max_size=metrics))
    return Problem(
        parameters=draw(_parameters(finite, most)),
        metrics=tuple(Metric(name=f"m{i}", goal=goal) for i, goal in enumerate(goals)),
        seed=draw(st.integers(0, 2**31)),
    )


_VALUES = st.one_of(
    st.floats(-1, 1),
    st.sampled_from([0.0, 1.0, math.nan, math.inf, -math.inf, 1e300, -1e300, 1e-300]),
)


@st.composite
def histories(draw: st.DrawFn, problem: Problem, *, most: int = 12) -> list[Tried]:
    """Any history of `problem`: some trials run, some failed, some lie outside of the space."""
    space, found = Space(problem.parameters), []
    source = random.Random(draw(st.integers(0, 2**32)))
    for number in range(1, draw(st.integers(0, most)) + 1):
        point: Point = space.sample(source)
        if draw(st.integers(0, 9)) == 0:
            strange: list[Point] = [{}, {"other": 1}, dict.fromkeys(point, "strange")]
            point = draw(st.sampled_from([*strange, dict.fromkeys(point, 1000000000.0)]))
        state = draw(st.integers(0, 5))
        values = tuple(draw(_VALUES) for _ in problem.metrics) if state > 1 else None
        found.append(Tried(number=number, point=point, values=values, infeasible=state == 1))
    return found
