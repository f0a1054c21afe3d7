"""`SqlTraffic`: what `SqlStore` has for traffic; one method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlengine.store import traffic as rows
from mlengine.store.database import Database
from mlengine.store.trafficstore import (
    AddedOutcomes,
    ArmCounts,
    ArmRecord,
    NewOutcome,
    OutcomeSums,
    TrafficPlan,
    TrafficRecord,
    TrafficStore,
)

__all__ = ["SqlTraffic"]


class SqlTraffic:
    """A `TrafficStore` over one `Database`; see the contract there."""

    _database: Database

    def traffic(self, project: str, model_id: str) -> TrafficRecord:
        return self._database.read(rows.get, project, model_id)

    def traffics(self) -> Sequence[TrafficRecord]:
        return self._database.read(rows.listed)

    def edit_traffic(
        self, project: str, model_id: str, change: Callable[[TrafficRecord], TrafficPlan]
    ) -> TrafficRecord:
        return self._database.write(rows.edit, project, model_id, change)

    def arms(self, project: str, model_id: str) -> Sequence[ArmRecord]:
        return self._database.read(rows.arms_of, project, model_id)

    def add_counts(
        self,
        counts: Sequence[tuple[str, str, int, str, ArmCounts]],
        *,
        gateway: str,
        batch: int,
    ) -> None:
        self._database.write(rows.add_counts, counts, gateway=gateway, batch=batch)

    def add_outcomes(
        self, project: str, model_id: str, outcomes: Sequence[NewOutcome]
    ) -> AddedOutcomes:
        return self._database.write(rows.add_outcomes, project, model_id, outcomes)

    def outcome_sums(self, project: str, model_id: str) -> Sequence[OutcomeSums]:
        return self._database.read(rows.outcome_sums, project, model_id)


_: type[TrafficStore] = SqlTraffic
