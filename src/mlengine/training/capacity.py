"""Which job holds what of this machine; `admission` has the rules, this applies them to records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mlengine.core.errors import EngineError
from mlengine.core.resources import Job
from mlengine.store import JobRecord
from mlengine.training import notes
from mlengine.training.admission import (
    Admission,
    Claim,
    Demand,
    choose,
    claim_of,
    free_of,
    is_over_committed,
    refuse_impossible,
)
from mlengine.training.inventory import Inventory

__all__ = ["Capacity"]

_REMEMBERED = 1000
_NOBODYS_CHOICE = ("", "SCALE_TIER_UNSPECIFIED", "BASIC")
_FIELDS = {True: "job.training_input.scale_tier", False: "job"}


class Capacity:
    """The machine, divided among jobs.

    Args:
        inventory: What it has.
        slots: Into how many shares it is divided; also the most jobs at one time.
        demand_of: Says what a job asks for.
        folder_of: Returns a job's folder, where its GPUs are written down.
        varies: What there is comes and goes: who asks for more than that waits for it.
    """

    def __init__(
        self,
        inventory: Inventory,
        slots: int,
        *,
        demand_of: Callable[[Job], Demand],
        folder_of: Callable[[JobRecord], Path],
        varies: bool = False,
    ) -> None:
        self.varies = varies
        self.inventory = inventory
        self.slots = slots
        self._demand_of = demand_of
        self._folder_of = folder_of
        self._free = free_of(inventory, slots, [])
        self._demands: dict[str, Demand] = {}

    def resize(self, inventory: Inventory, slots: int) -> None:
        """Take it that there is more, or less, from now on; without slots nothing is started."""
        self.inventory, self.slots = inventory, slots
        self._free = free_of(inventory, slots, [])
        self._demands = {}

    def check(self, project: str, job: Job) -> list[str]:
        """Return what the user of a new job should know of the machine.

        Raises:
            ResourceExhausted: It could never run here.
        """
        field, demand = _FIELDS[job.training_input is not None], self._demand_of(job)
        refuse_impossible(project, demand, self.inventory, self._free, field=field)
        asked_for = job.training_input and job.training_input.scale_tier not in _NOBODYS_CHOICE
        if not asked_for or not is_over_committed(demand, self.inventory):
            return []
        wanted = Inventory(demand.cpus, demand.memory_bytes, self.inventory.gpus[: demand.gpus])
        return [
            f"The job asks for {wanted}; this machine has {self.inventory}: it is over-committed."
        ]

    def why_impossible(self, record: JobRecord) -> str:
        """Say why a job, queued when the machine was another, can never run; empty if it can."""
        field = _FIELDS[record.job.training_input is not None]
        try:
            demand = self._demand(record)
            refuse_impossible(record.project, demand, self.inventory, self._free, field=field)
        except EngineError as error:
            return error.description
        return ""

    def admit(self, started: Sequence[JobRecord], queue: Sequence[JobRecord]) -> list[Admission]:
        """Return which of the queued jobs start now; `started` are those past QUEUED."""
        running = [self._claim(record) for record in started if record.attempt]
        self._free = free_of(self.inventory, self.slots, running)
        waiting = [(record.uid, self._demand(record)) for record in queue]
        return choose(self.inventory, self.slots, running, waiting)

    def wants_gpus(self, record: JobRecord) -> bool:
        """Tell whether a queued job asks for GPUs: while it waits for them others may pass it."""
        return self._demand(record).gpus > 0

    def gpus_of(self, record: JobRecord) -> tuple[str, ...]:
        """Return the ids of the GPUs that a started job holds."""
        if not self._demand(record).gpus:
            return ()
        return notes.claimed_gpus(self._folder_of(record))

    def hold(self, record: JobRecord, admission: Admission) -> None:
        """Write down which GPUs a job is about to be given, before it is."""
        if admission.claim.gpu_ids:
            notes.write_claimed_gpus(self._folder_of(record), admission.claim.gpu_ids)

    def _demand(self, record: JobRecord) -> Demand:
        """Return what a job asks for, worked out once: every turn looks at the same records."""
        found = self._demands.get(record.uid)
        if found is None:
            if len(self._demands) >= _REMEMBERED:
                self._demands.clear()
            found = self._demands[record.uid] = self._demand_of(record.job)
        return found

    def _claim(self, record: JobRecord) -> Claim:
        try:
            demand = self._demand(record)
        except EngineError:  # an older mlengine knew its machine type
            demand = Demand()
        claim = claim_of(demand, self.inventory, max(self.slots, 1))
        return msgspec.structs.replace(claim, gpu_ids=self.gpus_of(record))
