"""What `Store` has for traffic: who gets a model's predictions, what was counted, what came of it.

A *period* is the time between two changes of a model's traffic. An *experiment* is the periods
from when traffic was first set, or set again after it was cleared; starting one forgets the last.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

__all__ = [
    "AddedOutcomes",
    "ArmCounts",
    "ArmRecord",
    "NewOutcome",
    "OutcomeSums",
    "TrafficPlan",
    "TrafficRecord",
    "TrafficStore",
]


class TrafficPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets a model's predictions.

    Attributes:
        split: Version id → parts of the whole.
        segments: Where each version's part of the numbers below 2**32 ends, in order.
        sticky_by: What decides, as ``header:NAME`` or ``field:NAME``; empty: chance.
        salt: Of the draw; stays for an experiment.
        shadow: Ids of the versions that get copies.
        update_time: When it was set.
    """

    split: dict[str, int] = {}
    segments: list[tuple[int, str]] = []
    sticky_by: str = ""
    salt: str = ""
    shadow: list[str] = []
    update_time: str = ""

    @property
    def idle(self) -> bool:
        """Whether everything goes to the default version, and nothing anywhere else."""
        return not self.split and not self.shadow

    @property
    def named(self) -> list[str]:
        """Every version that it needs."""
        return [*self.split, *self.shadow]


class TrafficRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A model's traffic as it was read; one that was never set is idle, in period 0.

    Attributes:
        began: The first period of the experiment.
        default_version_id: The model's default version, of the same moment.
    """

    project: str
    model_id: str
    plan: TrafficPlan = TrafficPlan()
    period: int = 0
    began: int = 0
    default_version_id: str = ""

    @property
    def etag(self) -> str:
        """What tells this period from every other one of the model."""
        return base64.b64encode(str(self.period).encode()).decode()


class ArmCounts(msgspec.Struct, kw_only=True):
    """What was counted of one version in one period.

    Attributes:
        units: Independent draws: predictions, or values of the sticky key.
        times: Bucket of the latencies → how many answers.
        agreed: As a shadow: version that answered → answers equal, close, different, uncompared.
    """

    requests: int = 0
    errors: int = 0
    units: int = 0
    copies: int = 0
    copies_failed: int = 0
    copies_dropped: int = 0
    times: dict[int, int] = {}
    agreed: dict[str, list[int]] = {}

    def add(self, other: ArmCounts) -> None:
        """Take the other's counts in."""
        for name in ("requests", "errors", "units", "copies", "copies_failed", "copies_dropped"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for bucket, count in other.times.items():
            self.times[bucket] = self.times.get(bucket, 0) + count
        for version, counts in other.agreed.items():
            mine = self.agreed.get(version, [0] * len(counts))
            self.agreed[version] = [a + b for a, b in zip(mine, counts, strict=True)]


class ArmRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A version in a period, and all that was counted of it.

    Attributes:
        parts: What it was to get of the split; 0 for a shadow.
        units: Independent draws, by the gateway that saw them: each counts a value by itself.
    """

    period: int
    version_id: str
    parts: int
    counts: ArmCounts
    units: dict[str, int]


class NewOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one prediction.

    Attributes:
        unit: Whoever it is of; outcomes of one unit are not independent.
    """

    prediction_id: str
    period: int
    version_id: str
    unit: str
    value: float


class AddedOutcomes(msgspec.Struct, frozen=True):
    """How many were counted, had been counted before, or are of what is not compared any more."""

    added: int
    known: int
    outdated: int


class OutcomeSums(msgspec.Struct, frozen=True, kw_only=True):
    """All outcomes of a version in a period.

    Attributes:
        residual: Sum over the units of (sum of its values − mean × their number) squared.
    """

    period: int
    version_id: str
    units: int
    outcomes: int
    mean: float
    residual: float


class TrafficStore(Protocol):
    """The methods; `Store` says what holds of all of them."""

    def traffic(self, project: str, model_id: str) -> TrafficRecord: ...
    def traffics(self) -> Sequence[TrafficRecord]:
        """Return the traffic of every model whose is not idle."""
        ...

    def edit_traffic(
        self, project: str, model_id: str, change: Callable[[TrafficRecord], TrafficPlan]
    ) -> TrafficRecord:
        """Begin a period with the plan that `change` makes of the newest record.

        `FailedPrecondition` when a version that it names does not serve. `set_default` ends a
        split by itself, and a version that a plan names cannot be deleted.
        """
        ...

    def arms(self, project: str, model_id: str) -> Sequence[ArmRecord]:
        """Return every version in every period of the experiment, oldest period first."""
        ...

    def add_counts(
        self,
        counts: Sequence[tuple[str, str, int, str, ArmCounts]],
        *,
        gateway: str,
        batch: int,
    ) -> None:
        """Add counts: project, model id, period, version id and what was counted of each.

        A gateway's batches are numbered 1, 2, 3, …; one that was added already is not added again.
        Counts of what is not compared any more are dropped.
        """
        ...

    def add_outcomes(
        self, project: str, model_id: str, outcomes: Sequence[NewOutcome]
    ) -> AddedOutcomes:
        """Add outcomes; the first of a prediction stays."""
        ...

    def outcome_sums(self, project: str, model_id: str) -> Sequence[OutcomeSums]: ...
