"""Sampled Shapley values of the instances of one request."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from mlengine.runtime.explain.calls import (
    Pace,
    Run,
    Steps,
    ask_examples,
    ask_mixed,
    batches,
    renumbered,
    rows_of,
    write,
)
from mlengine.runtime.explain.shapley import Coalitions, coalitions
from mlengine.runtime.explain.subject import Case, Mixed, Subject
from mlengine.runtime.prediction_error import PredictionError, input_error

__all__ = ["MAX_ROWS", "explain_by_shapley", "rehearse_by_shapley"]

MAX_ROWS = 500_000
"""Most rows that the model may be asked for to explain one instance."""


def explain_by_shapley(subject: Subject, instances: list[Any], paths: int, pace: Pace) -> Steps:
    """Attribute the scores of instances to their features by sampled Shapley values.

    Args:
        subject: The model.
        instances: As the request has them.
        paths: Orders to be drawn for each instance and baseline.
        pace: Rows of a call.

    Raises:
        PredictionError: As `Subject`; class 1 when it would take more than `MAX_ROWS` rows.
    """
    cases: list[Case] = []
    games: list[list[Coalitions]] = []
    for position, instance in enumerate(instances):
        try:
            cases.append(_case(subject, instance, paths))
        except PredictionError as error:
            raise renumbered(error, position) from error.__cause__
        games.append([
            coalitions(cases[-1].players, paths=paths, seed=_seed(instance) + number)
            for number in range(cases[-1].baselines)
        ])  # fmt: skip
        yield  # a wide one takes as long as a call
    output, examples = yield from ask_examples(subject, cases, pace)
    found = [[np.full(game.rows, example.score) for game in one]
             for one, example in zip(games, examples, strict=True)]  # fmt: skip
    work = [Run(number, baseline, 0, game.rows - 1)
            for number, one in enumerate(games) for baseline, game in enumerate(one)]  # fmt: skip
    for runs in batches(work, subject, pace, cases):
        mixed = [
            Mixed(cases[run.case], games[run.case][run.baseline].masks(run.begin, run.end),
                  run.baseline)
            for run in runs
        ]  # fmt: skip
        scores = pace.call(rows_of(runs), ask_mixed, subject, mixed, output)
        at = 0
        for run in runs:
            part = scores[at : at + run.end - run.begin, examples[run.case].label]
            found[run.case][run.baseline][run.begin : run.end] = part
            at += len(part)
        yield
    return [
        write(
            subject, output, example,
            [game.attribute(scores) for game, scores in zip(one, made, strict=True)],
            [float(scores[0]) for scores in made],
        )
        for example, one, made in zip(examples, games, found, strict=True)
    ]  # fmt: skip


def rehearse_by_shapley(subject: Subject, instance: Any, paths: int) -> Steps:
    """Ask what every explanation asks first: the instance as it is, and each of its baselines.

    Raises:
        PredictionError: As `explain_by_shapley`.
    """
    case, pace = _case(subject, instance, paths), Pace(1)
    output, _examples = yield from ask_examples(subject, [case], pace)
    for baseline in range(case.baselines):
        none = np.zeros((1, case.players), dtype=bool)
        pace.call(1, ask_mixed, subject, [Mixed(case, none, baseline)], output)
        yield
    return []


def _case(subject: Subject, instance: Any, paths: int) -> Case:
    """Take an instance apart if it is not too wide, which is looked at first."""
    most = MAX_ROWS // paths
    if subject.width(instance, most) > most:
        raise input_error(
            f"explaining one instance takes more than {MAX_ROWS} rows of the model, which is the "
            f"most that are asked for: with {paths} paths it may have {most} features, counted "
            "for each baseline. Create the version with a lower numPaths, or name fewer inputs in "
            "explanation_metadata.json."
        )
    (case,) = subject.cases([instance])
    return case


def _seed(instance: Any) -> int:
    """Return a number that is the instance's own, so that it is always explained alike."""
    return zlib.crc32(repr(instance).encode("utf-8", "backslashreplace"))
