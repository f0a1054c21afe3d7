"""The calls of a model that explanations are made of: few, never long, and of many rows each.

Whoever explains is a generator: between two calls it holds nothing but what it knows, so whoever
drives it may let predictions go first. Rows of all instances share calls; how many rows a call has,
`Pace` says.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mlengine.runtime.explain.baselines import leaves
from mlengine.runtime.explain.outputs import Scores, choose, taken
from mlengine.runtime.explain.shapley import Values
from mlengine.runtime.explain.subject import Case, Mixed, Subject
from mlengine.runtime.prediction_error import PredictionError, input_error, output_error

__all__ = ["Example", "Pace", "Run", "Steps", "ask_examples", "ask_mixed", "batches", "in_groups",
           "renumbered", "rows_of", "write"]  # fmt: skip

_MAX_CELLS = 4_000_000  # of one call: rows times features
_GROUP, _GROUP_FEATURES = 16, 2000  # most instances of a group, and their features
_NUMBER = re.compile(r"\binstance (\d+)\b")

T = TypeVar("T")
Steps = Generator[None, None, list[dict[str, Any]]]
"""Yields after each call of the model; returns the explanations."""


class Pace:
    """How many rows a call may have: as many as take the time aimed at, or twice that of one row.

    Below that fewer rows bring nothing: a forest takes as long for one as for twenty. How long one
    row takes is measured anew by every call that has no more, so a busy machine is no reason to
    creep.

    Args:
        most: Never more.
        aim_s: The time that a call may take in any case.
        now_s: A clock.
    """

    def __init__(
        self, most: int, *, aim_s: float = 0.005, now_s: Callable[[], float] = time.perf_counter
    ) -> None:
        self.rows = 1
        self._most = most
        self._aim_s = aim_s
        self._row_s = 0.0
        self._now_s = now_s

    def call(self, rows: int, ask: Callable[..., T], *arguments: Any) -> T:
        """Make a call of so many rows, and learn from how long it took."""
        begun_s = self._now_s()
        answer = ask(*arguments)
        taken_s = self._now_s() - begun_s
        if rows == 1:
            self._row_s = taken_s
        aim_s = max(self._aim_s, 2 * self._row_s)
        if taken_s > aim_s:
            self.rows = max(min(self.rows, rows) // 2, 1)
        elif taken_s < 0.7 * aim_s and rows >= self.rows:
            self.rows = min(self.rows * 2, self._most)
        return answer


class Example(NamedTuple):
    """An instance, and the label that is explained: the one with the highest score."""

    case: Case
    label: int
    score: float


class Run(NamedTuple):
    """Rows of one instance and one baseline that follow each other."""

    case: int
    baseline: int
    begin: int
    end: int


def batches(
    work: Iterable[Run], subject: Subject, pace: Pace, cases: Sequence[Case]
) -> Iterator[list[Run]]:
    """Cut work into calls of the model; each has what `pace` then says, and fits into memory."""
    batch: list[Run] = []
    widest = max([1, *(case.players for case in cases)])
    most = min(subject.most_rows or _MAX_CELLS, max(_MAX_CELLS // widest, 1))
    room = min(pace.rows, most)
    for run in work:
        begin = run.begin
        while begin < run.end:
            end = min(run.end, begin + room)
            batch.append(run._replace(begin=begin, end=end))
            room, begin = room - (end - begin), end
            if not room:
                yield batch
                batch, room = [], min(pace.rows, most)
    if batch:
        yield batch


def in_groups(instances: list[Any], explain: Callable[[list[Any]], Steps]) -> Steps:
    """Explain a few instances at a time: no step takes them all apart, and memory stays small."""
    found: list[dict[str, Any]] = []
    for begin, end in _groups(instances):
        try:
            found += yield from explain(instances[begin:end])
        except PredictionError as error:
            raise renumbered(error, begin) from error.__cause__
    return found


def _groups(instances: list[Any]) -> Iterator[tuple[int, int]]:
    """Cut instances into groups of a few features in all, or of one instance."""
    begin = features = 0
    for at, instance in enumerate(instances):
        wide = sum(1 for _leaf in itertools.islice(leaves(instance), _GROUP_FEATURES))
        if at > begin and (features + wide > _GROUP_FEATURES or at - begin == _GROUP):
            yield begin, at
            begin, features = at, 0
        features += wide
    yield begin, len(instances)


def renumbered(error: PredictionError, first: int) -> PredictionError:
    """Count the instances that an error names from the request's first one."""
    detail = _NUMBER.sub(lambda found: f"instance {int(found[1]) + first}", error.detail)
    return PredictionError(error.error_class, detail)


def rows_of(runs: Iterable[Run]) -> int:
    return sum(run.end - run.begin for run in runs)


def ask_examples(
    subject: Subject, cases: Sequence[Case], pace: Pace
) -> Generator[None, None, tuple[str, list[Example]]]:
    """Ask for the instances as they are; choose the output, and the label of each."""
    output, examples = subject.output, []
    work = [Run(number, 0, 0, 1) for number in range(len(cases))]
    for runs in batches(work, subject, pace, cases):
        whole = [
            Mixed(cases[run.case], np.ones((1, cases[run.case].players), dtype=bool), 0)
            for run in runs
        ]
        try:
            scores = pace.call(len(whole), _asked, subject, whole)
        except PredictionError as error:
            raise renumbered(error, runs[0].case) from error.__cause__
        output = choose(scores, output)
        table = taken(scores, output)
        for row, run in enumerate(runs):
            label = int(np.argmax(table[row]))
            score = float(table[row, label])
            examples.append(Example(cases[run.case], label, score))
        yield
    return output, examples


def ask_mixed(subject: Subject, mixed: list[Mixed], output: str) -> np.ndarray:
    """Ask for rows that are partly the baseline's; the instances themselves were answered.

    Raises:
        PredictionError: Class 1: the model does not answer with this output; class 3: it does, with
            other labels.
    """
    try:
        scores = _asked(subject, mixed)
    except PredictionError as error:
        raise _no_baseline(_NUMBER.sub("a row", error.detail)) from error
    if output not in scores:
        raise _no_baseline(f"it gives no numbers as {output!r} then")
    return taken(scores, output)


def _no_baseline(why: str) -> PredictionError:
    return input_error(
        f"the model answers the instance, but not with features set back to their baseline ({why})."
        " Give baselines that it takes in explanation_metadata.json beside the model."
    )


def _asked(subject: Subject, mixed: list[Mixed]) -> Scores:
    scores = subject.scores(mixed)
    count = sum(len(one.masks) for one in mixed)
    for name, table in scores.items():
        if isinstance(table, PredictionError):
            continue  # it matters only if this is the output that is explained
        if len(table) != count:
            raise output_error(f"the output {name!r} has {len(table)} rows for {count} instances")
        if not np.isfinite(table).all():
            raise output_error(f"the output {name!r} is NaN or infinite, which JSON cannot carry")
    return scores


def write(
    subject: Subject, output: str, example: Example, made: Sequence[Values],
    starts: Sequence[float],
) -> dict[str, Any]:  # fmt: skip
    """Write one explanation; of several baselines it is the mean."""
    values = np.mean([one.values for one in made], axis=0)
    return {
        "attributions_by_label": [
            {
                "attributions": example.case.form(values),
                "approx_error": float(np.mean([one.error for one in made])),
                "baseline_score": float(np.mean(starts)),
                "example_score": example.score,
                "label_index": example.label,
                "output_name": subject.output_name or output,
            }
        ]
    }
