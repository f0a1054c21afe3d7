"""What the searchers are asked to minimise: closed forms, and real scikit-learn trainings.

All peers get the same spaces, values and noise. An objective is evaluated in the benchmark's own
process; no peer sees more of it than its space.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from mlengine.tuning.problem import Parameter, Point

__all__ = ["FAMILIES", "Objective", "objectives"]

FAMILIES = ("smooth", "rugged", "20 dimensions", "noisy", "mixed", "conditional", "log", "models")


@dataclasses.dataclass(frozen=True)
class Objective:
    """A function to minimise.

    Attributes:
        optimum: Its least value; None where nobody knows it: the best that was ever seen counts.
        noise: Standard deviation of what is added to an observation.
    """

    name: str
    family: str
    parameters: tuple[Parameter, ...]
    value: Callable[[Point], float]
    optimum: float | None = None
    noise: float = 0.0

    def observe(self, point: Point, source: random.Random) -> tuple[float, float]:
        """Return what a searcher is told of a point, and what is true of it."""
        true = self.value(point)
        return (true + source.gauss(0.0, self.noise) if self.noise else true), true


def objectives() -> tuple[Objective, ...]:
    """Return all, by family."""
    from benchmarks.tuning.objectives import closed, models, typed

    every = (*closed.OBJECTIVES, *typed.OBJECTIVES, *models.OBJECTIVES)
    return tuple(sorted(every, key=lambda one: (FAMILIES.index(one.family), one.name)))
