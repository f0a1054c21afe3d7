"""What a job's own arguments say of parameters that another job tunes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mlengine.core.resources import Job, TrainingInput
from mlengine.training.trials.books import _given
from mlengine.tuning.problem import Kind, Parameter

PARAMETERS = [Parameter(name=name, kind=Kind.DOUBLE, high=1.0) for name in ("x", "y")]


@pytest.mark.parametrize(
    ("args", "found"),
    [
        ([], {}),
        (["--x"], {"x": ""}),
        (["--x", "0.5", "--z=1", "--y=0.25"], {"x": "0.5", "y": "0.25"}),
        (["--x=1", "--x=0.5"], {"x": "0.5"}),
        (["x=1", "-y=1", "--xs=2"], {}),
    ],
    ids=str,
)
def test_flags_are_read_as_the_trainer_reads_them(args: list[str], found: dict[str, str]) -> None:
    record: Any = SimpleNamespace(job=Job(training_input=TrainingInput(args=args)))
    assert _given(record, PARAMETERS) == found
