"""Our own searches, the simple ones among them; in the benchmark's environment."""

from __future__ import annotations

from typing import Any

import line
import msgspec

from mlengine.tuning.problem import Goal, Metric, Parameter, Problem, Tried
from mlengine.tuning.search import open_search


class _Ours:
    def __init__(self, setup: line.Setup) -> None:
        self._search = open_search(setup["option"])
        self._problem = Problem(
            parameters=tuple(msgspec.convert(each, Parameter) for each in setup["space"]),
            metrics=tuple(
                Metric(name=f"loss{i}", goal=Goal.MINIMIZE) for i in range(setup.get("metrics", 1))
            ),
            seed=setup["seed"],
        )
        self._history: list[Tried] = []

    def ask(self, count: int) -> list[dict[str, Any]]:
        found = self._search.suggest(self._problem, self._history, count)
        return [dict(suggestion.point) for suggestion in found]

    def tell(self, points: list[dict[str, Any]], values: list[Any]) -> None:
        for point, value in zip(points, values, strict=True):
            number = len(self._history) + 1
            told = tuple(value) if isinstance(value, list) else (value,)
            self._history.append(Tried(number=number, point=point, values=told))


if __name__ == "__main__":
    line.serve(_Ours)
