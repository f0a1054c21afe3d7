"""What is explained: instances taken apart into features, and the scores of rows put together anew.

`rows` does so with instances as JSON has them, `arrays` with named tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from mlengine.runtime.explain.outputs import Scores

__all__ = ["Case", "Mixed", "Subject"]


class Case(Protocol):
    """One instance; its players are its features, in the order of its leaves."""

    @property
    def players(self) -> int: ...
    @property
    def baselines(self) -> int: ...
    def form(self, values: np.ndarray) -> dict[str, Any]:
        """Return one value a player in the form of the instance, by the names of its inputs."""
        ...


class Mixed(NamedTuple):
    """Rows to be made of an instance and one of its baselines, one for each row of `masks`."""

    case: Any
    masks: np.ndarray
    baseline: int


class Subject(Protocol):
    """A model that can be explained.

    Attributes:
        most_rows: How many rows a call may have; 0: any number.
        output: The output that is explained; empty: the one that there is.
        output_name: What answers call it; empty: as the model does.
    """

    most_rows: int
    output: str
    output_name: str

    def cases(self, instances: list[Any]) -> Sequence[Case]: ...
    def width(self, instance: Any, most: int) -> int:
        """Return an instance's features times its baselines; what is over `most` may be cut."""
        ...

    def scores(self, mixed: Sequence[Mixed]) -> Scores:
        """Call the model once for all the rows."""
        ...
