"""A searcher in its own process, and the file that keeps what it did."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tuning.environments import NotInstalledError, python_of
from benchmarks.tuning.objectives import Objective, objectives
from benchmarks.tuning.peers import PEERS
from benchmarks.tuning.peers.child import Line
from benchmarks.tuning.runs import Runs, search
from mlengine.tuning.problem import Kind, Parameter

(BRANIN,) = (one for one in objectives() if one.name == "branin")
RANDOM = PEERS["random"]


def test_a_process_answers_for_many_searches_and_the_seed_decides(tmp_path: Path) -> None:
    with Line(RANDOM, sys.executable, tmp_path / "log", 60.0) as line:
        first, again, other = (
            search(RANDOM, BRANIN, line, seed=seed, batch=4, budget=6) for seed in (1, 1, 2)
        )
    assert first.error == ""
    assert len(first.true) == len(first.cpu_s) == 6
    assert first.true == again.true
    assert first.true != other.true


def test_who_dies_or_has_nothing_to_say_fails_the_run_and_not_the_benchmark(tmp_path: Path) -> None:
    with Line(RANDOM, "/bin/false", tmp_path / "log", 60.0) as line:
        run = search(RANDOM, BRANIN, line, seed=1, batch=1, budget=3)
    assert run.error == "its process died"
    assert run.seen == []
    assert run.incumbent(3) == float("inf")


def test_an_error_is_told_by_its_name_and_the_next_search_goes_on(tmp_path: Path) -> None:
    odd = next(one for one in PEERS.values() if one.name == "random")
    unknown = type(odd)("odd", "mlengine", "no-such-search")
    with Line(unknown, sys.executable, tmp_path / "log", 60.0) as line:
        failed = search(unknown, BRANIN, line, seed=1, batch=1, budget=3)
        ended = search(RANDOM, BRANIN, line, seed=1, batch=1, budget=3)
    assert "no-such-search" in failed.error
    assert ended.error == ""


def test_several_metrics_are_told_as_a_list(tmp_path: Path) -> None:
    space = [{"name": "x", "kind": "DOUBLE", "low": 0.0, "high": 1.0}]
    with Line(RANDOM, sys.executable, tmp_path / "log", 60.0) as line:
        line.begin({"space": space, "seed": 1, "metrics": 2, "option": "bayesian"})
        for _ in range(5):
            points, _cpu_s = line.ask(1)
            line.tell(points, [(float(points[0]["x"]), 1 - float(points[0]["x"]))])
        points, _cpu_s = line.ask(2)
    assert len(points) == 2


def test_runs_are_kept_and_only_what_is_missing_is_run(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    with Line(RANDOM, sys.executable, tmp_path / "log", 60.0) as line:
        run = search(RANDOM, BRANIN, line, seed=1, batch=1, budget=3)
    Runs(file).add(run)
    with file.open("ab") as torn:
        torn.write(b'{"peer": "random", "obj')
    kept = Runs(file)
    assert list(kept.current([RANDOM])) == [run]
    wanted = list(kept.missing([RANDOM], [BRANIN], [0, 1], [1], [3]))
    assert wanted == [(RANDOM, BRANIN, 0, 1, 3)]
    longer = list(kept.missing([RANDOM], [BRANIN], [1], [1], [2, 4]))
    assert longer == [(RANDOM, BRANIN, 1, 1, 4)]


class Played(Line):
    """A searcher that proposes what it is given, and then has nothing more."""

    def __init__(self, *points: dict[str, Any]) -> None:
        self._points = list(points)

    def begin(self, setup: dict[str, Any]) -> None:
        pass

    def ask(self, count: int) -> tuple[list[dict[str, Any]], float]:
        points, self._points = self._points[:count], self._points[count:]
        return points, 0.0

    def tell(self, points: Any, values: Any) -> float:
        return 0.0


# Its values are n, but that of 1 is no number.
TINY = Objective(
    "tiny", "smooth", (Parameter(name="n", kind=Kind.INTEGER, low=1, high=3),),
    lambda point: math.nan if point["n"] == 1 else float(point["n"]),
)  # fmt: skip


def test_what_is_no_number_is_kept_as_none_and_is_never_the_best(tmp_path: Path) -> None:
    run = search(RANDOM, TINY, Played({"n": 1}, {"n": 3}, {"n": 2}), seed=1, batch=1, budget=3)
    assert run.true == [None, 3.0, 2.0]
    assert [run.incumbent(trials) for trials in (1, 2, 3)] == [math.inf, 3.0, 2.0]
    Runs(tmp_path / "runs.jsonl").add(run)
    assert list(Runs(tmp_path / "runs.jsonl").current([RANDOM])) == [run]


def test_a_point_that_is_not_in_the_space_fails_the_run() -> None:
    run = search(RANDOM, TINY, Played({"n": 2}, {"n": 4}), seed=1, batch=1, budget=3)
    assert "'n' cannot be 4" in run.error
    assert run.true == [2.0]


def test_who_has_tried_all_points_has_not_failed() -> None:
    whole = search(RANDOM, TINY, Played(*({"n": n} for n in (1, 2, 3))), seed=1, batch=2, budget=9)
    assert (whole.error, len(whole.true)) == ("", 3)
    short = search(RANDOM, TINY, Played({"n": 1}, {"n": 2}), seed=1, batch=2, budget=9)
    assert short.error == "it had nothing more to try"


def test_who_is_told_the_budget_is_run_for_each(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.jsonl")
    planner = dataclasses.replace(RANDOM, told=True)
    assert [task[-1] for task in runs.missing([planner], [BRANIN], [1], [1], [2, 4])] == [2, 4]
    with Line(RANDOM, sys.executable, tmp_path / "log", 60.0) as line:
        run = search(planner, BRANIN, line, seed=1, batch=1, budget=4)
    runs.add(run)
    assert [task[-1] for task in runs.missing([planner], [BRANIN], [1], [1], [2, 4])] == [2]
    assert [task[-1] for task in runs.missing([RANDOM], [BRANIN], [1], [1], [2, 4])] == []


def test_an_environment_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotInstalledError, match="not installed"):
        python_of("optuna", tmp_path, install=False)
    assert python_of("", tmp_path) == sys.executable
