"""Searches by name."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from mlengine.core.errors import FailedPrecondition, InvalidArgument
from mlengine.tuning.problem import Kind, Metric, Parameter, Problem, Scale, Tried
from mlengine.tuning.search import DEFAULT, open_search
from mlengine.tuning.space import Space

OPTUNA = importlib.util.find_spec("optuna") is not None
VIZIER = importlib.util.find_spec("vizier") is not None
PROBLEM = Problem(
    parameters=(
        Parameter(name="kind", kind=Kind.CATEGORICAL, values=("a", "b")),
        Parameter(name="x", kind=Kind.DOUBLE, low=0.5, high=0.999, scale=Scale.REVERSE_LOG),
        Parameter(name="n", kind=Kind.INTEGER, low=1, high=64, scale=Scale.REVERSE_LOG),
        Parameter(name="d", kind=Kind.DISCRETE, values=(1.0, 3.0), parent="kind", when=("a",)),
    ),
    metrics=(Metric(name="loss"),),
)


@pytest.mark.parametrize(
    "name", ["bayesain", "optuna", "optuna:", "optuna:CmaEsSampler", "vizier:GP", "", "Random"]
)
def test_a_name_that_is_none_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(InvalidArgument, match="quasi-random") as caught:
        open_search(name)
    assert f"'{name}'" in str(caught.value)


def test_the_default_is_bayesian() -> None:
    assert DEFAULT == "bayesian"
    assert type(open_search()).__name__ == "BayesianSearch"


def test_only_the_bayesian_search_loads_numpy() -> None:
    source = (
        "import sys\n"
        "from mlengine.tuning.search import open_search\n"
        "for name in ('random', 'grid', 'quasi-random'): open_search(name)\n"
        "assert 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", source], check=True)


@pytest.mark.skipif(OPTUNA, reason="Optuna is installed: nothing to ask for")
def test_without_optuna_it_says_how_to_get_it() -> None:
    with pytest.raises(FailedPrecondition, match=r"pip install 'mlengine\[optuna\]'"):
        open_search("optuna:TPESampler")


@pytest.mark.skipif(VIZIER, reason="Vizier is installed: nothing to ask for")
def test_without_vizier_it_says_how_to_get_it() -> None:
    with pytest.raises(FailedPrecondition, match=r"pip install 'mlengine\[vizier\]'"):
        open_search("vizier:GP_UCB_PE")


@pytest.mark.skipif(not OPTUNA, reason="needs Optuna, which is not installed here")
@pytest.mark.parametrize("sampler", ["TPESampler", "RandomSampler"])
def test_a_sampler_gives_points_of_the_space(sampler: str) -> None:
    _go_on(f"optuna:{sampler}", 15)


@pytest.mark.skipif(not VIZIER, reason="needs OSS Vizier, which is not installed here")
@pytest.mark.parametrize(
    ("designer", "trials"), [("QUASI_RANDOM_SEARCH", 8), ("EAGLE_STRATEGY", 8), ("GP_UCB_PE", 4)]
)
def test_a_designer_gives_points_of_the_space(designer: str, trials: int) -> None:
    _go_on(f"vizier:{designer}", trials)


def _go_on(name: str, trials: int) -> None:
    """Some trials of a conditional space, one that runs and one that failed among them."""
    search, space = open_search(name), Space(PROBLEM.parameters)
    history: list[Tried] = []
    for number in range(1, trials + 1):
        (found,) = search.suggest(PROBLEM, history)
        space.check(found.point)
        value = (float(found.point["x"]),) if number % 5 else None
        history.append(
            Tried(number=number, point=found.point, values=value, infeasible=number == 5)
        )
    assert len({space.key(tried.point) for tried in history}) == trials
    assert search.suggest(PROBLEM, history) == search.suggest(PROBLEM, history)
