"""From runs to scores, by Bayesmark's conventions (its documentation, "How scoring works").

For an objective p, S is the true value of the point that looked best after t trials. Its score is

    100 x (1 - (mean over seeds of min(S, clip_p) - opt_p) / (clip_p - opt_p))

with clip_p the median of a single random evaluation (so 0 is one random try and 100 the optimum)
and opt_p the optimum, or the least value that any run has ever seen where nobody knows it: this is
Bayesmark's mean score. Beside it stands its normalised form, which takes out how far random search
comes within t trials: 100 x (1 - mean over p of the above loss / the same of random search), so 0
is random search and 100 the optimum.

Intervals are of 90 % and from a bootstrap over seeds within each objective; clip and opt are taken
as given, as Bayesmark does.
"""

from __future__ import annotations

import collections
import dataclasses
import random
import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.tuning.objectives import Objective
from benchmarks.tuning.peers import PEERS
from benchmarks.tuning.runs import Run

__all__ = ["Frame", "Row", "Score", "baseline", "frames", "rows"]

_RESAMPLES = 1000
_TOLD = {peer.name for peer in PEERS.values() if peer.told}

Losses = dict[str, dict[str, list[float]]]
"""Peer → objective → a normalised loss for each seed: 0 is the optimum, 1 a random try."""


@dataclasses.dataclass(frozen=True)
class Score:
    """A figure with the ends of its 90 % interval."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Frame:
    """All that is known for one batch size and budget."""

    batch: int
    budget: int
    losses: Losses
    cpu_s: dict[str, float]
    failed: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Row:
    """One peer's line of a table.

    Attributes:
        score: Over the objectives that the peer has runs of.
        against_ours: Its score minus ours over the same objectives; below 0: ours is better.
        beyond_random: The normalised form: 0 is random search over the same objectives.
        rank: Mean place among the peers that have runs of all objectives; None if it has not.
    """

    peer: str
    objectives: int
    seeds: tuple[int, int]
    score: Score
    against_ours: Score | None
    beyond_random: float | None
    rank: float | None
    cpu_s: float
    failed: int


def baseline(
    objectives: Sequence[Objective], runs: Sequence[Run]
) -> dict[str, tuple[float, float]]:
    """Return (clip, opt) of each objective that random search has runs of."""
    found = {}
    for objective in objectives:
        mine = [run for run in runs if run.objective == objective.name]
        drawn = [value for run in mine if run.peer == "random" for value in _known(run)]
        if drawn:
            seen = min(value for run in mine for value in _known(run))
            optimum = seen if objective.optimum is None else min(objective.optimum, seen)
            found[objective.name] = (statistics.median(drawn), optimum)
    return found


def _known(run: Run) -> list[float]:
    return [value for value in run.true if value is not None]


def frames(
    objectives: Sequence[Objective],
    runs: Sequence[Run],
    batches: Sequence[int],
    budgets: Sequence[int],
) -> list[Frame]:
    """Sort the runs into tables, with their losses normalised."""
    base = baseline(objectives, runs)
    found = []
    for budget in budgets:
        for batch in batches:
            losses: Losses = collections.defaultdict(lambda: collections.defaultdict(list))
            cpu_s: dict[str, list[float]] = collections.defaultdict(list)
            failed: dict[str, int] = collections.Counter()
            for run in sorted(runs, key=lambda run: run.seed):
                enough = run.budget == budget if run.peer in _TOLD else run.budget >= budget
                if run.batch == batch and enough and run.objective in base:
                    clip, optimum = base[run.objective]
                    loss = (min(run.incumbent(budget), clip) - optimum) / (clip - optimum)
                    losses[run.peer][run.objective].append(loss)
                    cpu_s[run.peer] += run.cpu_s[:budget]
                    failed[run.peer] += bool(run.error)
            means = {peer: statistics.fmean(spent or [0.0]) for peer, spent in cpu_s.items()}
            found.append(Frame(batch, budget, dict(losses), means, dict(failed)))
    return found


def rows(frame: Frame, ours: str = "mlengine") -> list[Row]:
    """Return a line for each peer, the best first."""
    found = []
    every = {name for by in frame.losses.values() for name in by}
    whole = [peer for peer, by in frame.losses.items() if set(by) == every]
    ranks = _ranks({peer: frame.losses[peer] for peer in whole})
    for peer, by in frame.losses.items():
        counts = [len(seeds) for seeds in by.values()]
        mine = frame.losses.get(ours, {})
        shared = [name for name in by if name in mine]
        against = None
        if peer != ours and shared:
            against = _bootstrap(
                [(by[name], mine[name]) for name in shared],
                lambda theirs, our: 100 * (our - theirs), peer,
            )  # fmt: skip
        chance = frame.losses.get("random", {})
        by_chance = [name for name in by if name in chance]
        found.append(Row(
            peer=peer, objectives=len(by), seeds=(min(counts), max(counts)),
            score=_bootstrap([(by[name], [0.0]) for name in by], lambda x, _: 100 * (1 - x), peer),
            against_ours=against,
            beyond_random=_beyond(by, chance, by_chance) if by_chance else None,
            rank=ranks.get(peer), cpu_s=frame.cpu_s[peer], failed=frame.failed[peer],
        ))  # fmt: skip
    return sorted(found, key=lambda row: -row.score.value)


def _beyond(
    by: Mapping[str, list[float]], chance: Mapping[str, list[float]], names: Sequence[str]
) -> float:
    mine = statistics.fmean(statistics.fmean(by[name]) for name in names)
    return 100 * (1 - mine / statistics.fmean(statistics.fmean(chance[name]) for name in names))


def _ranks(losses: Losses) -> dict[str, float]:
    """Return each peer's mean place by mean loss; ties share their places."""
    places: dict[str, list[float]] = {peer: [] for peer in losses}
    for name in {name for by in losses.values() for name in by}:
        means = {peer: round(statistics.fmean(by[name]), 6) for peer, by in losses.items()}
        for peer, mean in means.items():
            better = sum(other < mean for other in means.values())
            same = sum(other == mean for other in means.values())
            places[peer].append(1 + better + (same - 1) / 2)
    return {peer: statistics.fmean(found) for peer, found in places.items()}


def _bootstrap(
    pairs: Sequence[tuple[Sequence[float], Sequence[float]]],
    figure: Callable[[float, float], float],
    seed: str,
) -> Score:
    """Return the mean over objectives of a figure of two means, and its interval."""
    source = random.Random(seed)
    value = statistics.fmean(
        figure(statistics.fmean(one), statistics.fmean(two)) for one, two in pairs
    )
    drawn = sorted(
        statistics.fmean(figure(_again(one, source), _again(two, source)) for one, two in pairs)
        for _ in range(_RESAMPLES)
    )
    return Score(value, drawn[int(0.05 * _RESAMPLES)], drawn[int(0.95 * _RESAMPLES) - 1])


def _again(values: Sequence[float], source: random.Random) -> float:
    return sum(source.choices(values, k=len(values))) / len(values)
