"""One search over one objective, and the file that keeps what came of it.

A run of 100 trials is a run of 30 as well: its first 30, but of a peer that plans by its budget.
Runs are appended to a file of JSON lines as they end, so a comparison that takes days can be
stopped and gone on with.
"""

from __future__ import annotations

import collections
import hashlib
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

import mlengine.tuning
from benchmarks.tuning.objectives import Objective
from benchmarks.tuning.peers import Peer
from benchmarks.tuning.peers.child import Line, PeerError
from mlengine.core.errors import InvalidArgument
from mlengine.tuning.space import Space

__all__ = ["Run", "Runs", "code_of", "search"]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one search did.

    Attributes:
        code: Of our own search, a digest of its source; runs of older source do not count.
        seen: What it was told, trial by trial; None where that was no finite number, for which
            the file has no word.
        true: The same without noise.
        cpu_s: Seconds of CPU of each trial's suggestion, the model's fit included.
        error: Why it ended before its budget; the trials before that count.
    """

    peer: str
    objective: str
    seed: int
    batch: int
    budget: int
    code: str = ""
    seen: list[float | None]
    true: list[float | None]
    cpu_s: list[float]
    error: str = ""

    def incumbent(self, trials: int) -> float:
        """Return the true value of the point that looked best within the first trials."""
        pairs = zip(self.seen[:trials], self.true, strict=False)
        known = [(seen, true) for seen, true in pairs if seen is not None and true is not None]
        return min(known, key=lambda pair: pair[0], default=(math.inf, math.inf))[1]


def code_of(peer: Peer) -> str:
    """Return what changes when our own search does; nothing for others, whose pins say it."""
    if peer.script != "mlengine":
        return ""
    folder = Path(mlengine.tuning.__file__).parent
    files = [folder / "space.py", folder / "axis.py", folder / "problem.py"]
    if peer.option == "bayesian":
        files += sorted((folder / "search").rglob("*.py"))
    texts = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(texts).hexdigest()[:12] if peer.option == "bayesian" else ""


def search(
    peer: Peer, objective: Objective, line: Line, *, seed: int, batch: int, budget: int
) -> Run:
    """Run one search to its budget; a peer's failure ends it and is kept."""
    parameters = [msgspec.to_builtins(each) for each in objective.parameters]
    space = Space(objective.parameters)
    noise = random.Random(f"{objective.name}/{seed}")
    seen: list[float | None] = []
    true: list[float | None] = []
    cpu_s: list[float] = []
    error = ""
    try:
        line.begin({
            "space": parameters, "seed": seed, "budget": budget, "batch": batch,
            "option": peer.option,
        })  # fmt: skip
        while len(seen) < budget:
            points, spent_s = line.ask(min(batch, budget - len(seen)))
            if not points:
                if space.size is not None and len(seen) >= space.size:
                    break  # it has tried all that there is
                raise PeerError("it had nothing more to try")
            for point in points:
                space.check(point)
            values = [objective.observe(point, noise) for point in points]
            spent_s += line.tell(points, [value for value, _true in values])
            seen += [_known(value) for value, _true in values]
            true += [_known(value) for _seen, value in values]
            cpu_s += [spent_s / len(points)] * len(points)
    except (PeerError, InvalidArgument) as problem:
        error = str(problem)
    return Run(
        peer=peer.name, objective=objective.name, seed=seed, batch=batch, budget=budget,
        code=code_of(peer), seen=seen, true=true, cpu_s=cpu_s, error=error,
    )  # fmt: skip


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Runs:
    """The file of runs, and which of them there are."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._runs: list[Run] = []
        if file.exists():
            for text in file.read_bytes().splitlines():
                try:
                    self._runs.append(msgspec.json.decode(text, type=Run))
                except msgspec.DecodeError:
                    continue  # the last line, half written

    def add(self, run: Run) -> None:
        """Keep a run."""
        with self._file.open("ab") as file:
            file.write(msgspec.json.encode(run) + b"\n")
        self._runs.append(run)

    def current(self, peers: Iterable[Peer]) -> Iterator[Run]:
        """Give the runs of peers as they are now, each search once, the longest.

        Of a peer that is told its budget, a search of each budget is one of its own.
        """
        codes = {peer.name: code_of(peer) for peer in peers}
        told = {peer.name for peer in peers if peer.told}
        longest: dict[tuple[object, ...], Run] = {}
        for run in self._runs:
            if codes.get(run.peer) == run.code:
                apart = run.budget if run.peer in told else 0
                key = (run.peer, run.objective, run.seed, run.batch, apart)
                if key not in longest or longest[key].budget < run.budget:
                    longest[key] = run
        yield from longest.values()

    def missing(
        self,
        peers: Sequence[Peer],
        objectives: Sequence[Objective],
        seeds: Sequence[int],
        batches: Sequence[int],
        budgets: Sequence[int],
    ) -> Iterator[tuple[Peer, Objective, int, int, int]]:
        """Give what is still to be run: all peers on a seed before the next seed begins."""
        done: dict[tuple[str, str, int, int], int] = collections.Counter()
        exact = set()
        for run in self.current(peers):
            key = (run.peer, run.objective, run.seed, run.batch)
            done[key] = max(done[key], run.budget)
            exact.add((*key, run.budget))
        for seed in seeds:
            for batch in batches:
                for peer in peers:
                    for objective in objectives:
                        key = (peer.name, objective.name, seed, batch)
                        if not peer.told and done[key] < max(budgets):
                            yield peer, objective, seed, batch, max(budgets)
                        for budget in budgets if peer.told else ():
                            if (*key, budget) not in exact:
                                yield peer, objective, seed, batch, budget
