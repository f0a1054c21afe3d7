"""`mlengine.tuning.search.Search` lists five obligations; each is a property of any problem."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlengine.core.errors import FailedPrecondition, InvalidArgument
from mlengine.tuning.problem import Goal, Kind, Metric, Parameter, Problem, Tried
from mlengine.tuning.search import Search, Suggestion, open_search
from mlengine.tuning.search.needs import SINGLE_METRIC, check_needs
from mlengine.tuning.space import Space
from tests.conformance.search.technologies import FINITE, TECHNOLOGIES
from tests.fakes.spaces import histories, problems

_FEW = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_MANY = settings(parent=_FEW, max_examples=60)
_TALL = Problem(
    parameters=(
        Parameter(name="layers", kind=Kind.INTEGER, low=1, high=6),
        Parameter(name="unit", kind=Kind.CATEGORICAL, values=("relu", "tanh")),
        Parameter(name="batch", kind=Kind.DISCRETE, values=(16.0, 32.0, 64.0, 128.0)),
    ),
    metrics=(Metric(name="loss", goal=Goal.MINIMIZE),),
    seed=3,
)


@pytest.fixture(scope="module", params=TECHNOLOGIES)
def name(request: pytest.FixtureRequest) -> str:
    try:
        check_needs(request.param)
    except FailedPrecondition as error:
        pytest.skip(str(error))
    return str(request.param)


@pytest.fixture(scope="module")
def search(name: str) -> Search:
    return open_search(name)


@_MANY
@given(data=st.data())
def test_any_history_gives_new_points_of_the_space(
    name: str, search: Search, data: st.DataObject
) -> None:
    """Obligations 1, 3, 4 and 5."""
    problem = data.draw(problems(finite=name in FINITE, metrics=1 if name in SINGLE_METRIC else 2))
    history = data.draw(histories(problem))
    count = data.draw(st.integers(1, 3))
    space = Space(problem.parameters)
    found = search.suggest(problem, history, count)
    seen = {space.key(tried.point) for tried in history if space.contains(tried.point)}
    left = None if space.size is None else space.size - len(seen)
    assert len(found) == (count if left is None else min(count, left))
    for suggestion in found:
        space.check(suggestion.point)
        key = space.key(suggestion.point)
        assert key not in seen
        seen.add(key)


@_FEW
@given(data=st.data())
def test_the_same_history_in_any_order_gives_the_same(
    name: str, search: Search, data: st.DataObject
) -> None:
    """Obligation 2; NaN in a history forbids comparing it, so suggestions are compared encoded."""
    problem = data.draw(problems(finite=name in FINITE, metrics=1 if name in SINGLE_METRIC else 2))
    history = data.draw(histories(problem))
    again = data.draw(st.permutations(history))
    first = _encoded(search.suggest(problem, history, 2))
    assert _encoded(open_search(name).suggest(problem, again, 2)) == first


def test_another_process_gives_the_same(name: str, search: Search) -> None:
    """Obligation 2."""
    history = _tried(search, 12)
    source = (
        "import sys, msgspec\n"
        "from mlengine.tuning.problem import Problem, Tried\n"
        "from mlengine.tuning.search import open_search\n"
        "problem, history = msgspec.json.decode(sys.stdin.buffer.read(), "
        "type=tuple[Problem, list[Tried]])\n"
        f"found = open_search({name!r}).suggest(problem, history, 2)\n"
        "sys.stdout.buffer.write(msgspec.json.encode(found))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", source],
        input=msgspec.json.encode((_TALL, history)),
        capture_output=True,
        check=True,
    )
    assert msgspec.json.decode(ended.stdout, type=list[Suggestion]) == search.suggest(
        _TALL, history, 2
    )


def test_a_finite_space_is_tried_out_whole_and_then_exhausted(search: Search) -> None:
    """Obligation 3: each of its 48 points once, then none."""
    history = _tried(search, 48)
    assert len({tuple(tried.point.items()) for tried in history}) == 48
    assert search.suggest(_TALL, history, 4) == []


def test_several_at_once_are_several(search: Search) -> None:
    found = search.suggest(_TALL, _tried(search, 8), 8)
    assert len({tuple(suggestion.point.items()) for suggestion in found}) == 8


def test_it_says_what_is_wrong_with_a_problem(search: Search) -> None:
    bad = Parameter(name="depth", kind=Kind.INTEGER, low=3, high=1)
    with pytest.raises(InvalidArgument, match="'depth'"):
        search.suggest(msgspec.structs.replace(_TALL, parameters=(bad,)), [])
    with pytest.raises(InvalidArgument, match="no metrics"):
        search.suggest(msgspec.structs.replace(_TALL, metrics=()), [])


def _tried(search: Search, count: int) -> list[Tried]:
    """Return a history of `count` trials, four at a time."""
    history: list[Tried] = []
    while len(history) < count:
        for found in search.suggest(_TALL, history, min(4, count - len(history))):
            value = abs(float(found.point["layers"]) - 3) + float(found.point["batch"]) / 64
            number = len(history) + 1
            history.append(Tried(number=number, point=found.point, values=(value,)))
    return history


def _encoded(found: Sequence[Suggestion]) -> bytes:
    return msgspec.json.encode(found)
