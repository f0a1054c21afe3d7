"""Integrated gradients of the instances of one request."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from mlengine.runtime.explain.arrays import ArrayCase, ArraySubject, joined
from mlengine.runtime.explain.calls import (
    Example,
    Pace,
    Run,
    Steps,
    ask_examples,
    ask_mixed,
    batches,
    write,
)
from mlengine.runtime.explain.gradients import error_of, points
from mlengine.runtime.explain.shapley import Values
from mlengine.runtime.explain.subject import Mixed
from mlengine.runtime.explain.way import Way, gradients

__all__ = ["explain_by_gradients"]

Begin = tuple[int, int]
"""Numbers of an instance and one of its baselines."""


def explain_by_gradients(
    subject: ArraySubject, instances: list[Any], steps: int, pace: Pace
) -> Steps:
    """Attribute the scores of instances to their features by integrated gradients.

    Args:
        subject: A model that is `Differentiable`.
        instances: As the request has them.
        steps: Points on the way from each baseline.
        pace: Rows of a call.

    Raises:
        PredictionError: As `Subject`; class 2 when no gradient can be taken.
    """
    cases = subject.cases(instances)
    output, examples = yield from ask_examples(subject, cases, pace)
    starts = yield from _starts(subject, cases, output, examples, pace)
    ways = {(n, b): Way(subject, cases[n], b) for n, b in starts}
    where, weights = points(steps)
    for runs in batches([Run(n, b, 0, steps) for n, b in starts], subject, pace, cases):
        pieces = [ways[run[:2]].arrays(where[run.begin : run.end]) for run in runs]
        labels = np.repeat(
            [examples[run.case].label for run in runs], [run.end - run.begin for run in runs]
        )
        found = pace.call(len(labels), gradients, subject, joined(pieces), output, labels)
        at = 0
        for run in runs:
            shares = weights[run.begin : run.end]
            part = {name: rows[at : at + len(shares)] for name, rows in found.items()}
            ways[run[:2]].take(part, shares)
            at += len(shares)
        yield
    return [
        _written(subject, output, example,
                 [(ways[key].values(), start) for key, start in starts.items() if key[0] == number])
        for number, example in enumerate(examples)
    ]  # fmt: skip


def _starts(
    subject: ArraySubject, cases: Sequence[ArrayCase], output: str, examples: Sequence[Example],
    pace: Pace,
) -> Generator[None, None, dict[Begin, float]]:  # fmt: skip
    """Return the score of every baseline, for the label of its instance."""
    starts: dict[Begin, float] = {}
    work = [Run(n, b, 0, 1) for n, case in enumerate(cases) for b in range(case.baselines)]
    for runs in batches(work, subject, pace, cases):
        mixed = [
            Mixed(cases[run.case], np.zeros((1, cases[run.case].players), dtype=bool), run.baseline)
            for run in runs
        ]
        scores = pace.call(len(runs), ask_mixed, subject, mixed, output)
        for row, run in enumerate(runs):
            starts[run[:2]] = float(scores[row, examples[run.case].label])
        yield
    return starts


def _written(
    subject: ArraySubject, output: str, example: Example,
    found: Sequence[tuple[np.ndarray, float]],
) -> dict[str, Any]:  # fmt: skip
    made = [
        Values(values, error_of(float(values.sum()), example.score, start))
        for values, start in found
    ]
    return write(subject, output, example, made, [start for _values, start in found])
