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
    refuse_impossible,
)
from mlengine.training.inventory import Inventory

__all__ = ["Capacity"]

_REMEMBERED = 1000
_FIELDS = {True: "job.training_input.scale_tier", False: "job"}


class Capacity:
    """The machine, divided among jobs.

    Args:
        inventory: What it has.
        slots: Into how many shares it is divided; also the most jobs at one time.
        demand_of: Says what a job asks for.
        folder_of: Returns a job's folder, where its GPUs are written down.
    """

    def __init__(
        self,
        inventory: Inventory,
        slots: int,
        *,
        demand_of: Callable[[Job], Demand],
        folder_of: Callable[[JobRecord], Path],
    ) -> None:
        self.inventory = inventory
        self.slots = slots
        self._demand_of = demand_of
        self._folder_of = folder_of
        self._free = free_of(inventory, slots, [])
        self._demands: dict[str, Demand] = {}

    def refuse_impossible(self, project: str, job: Job) -> None:
        """Raise `ResourceExhausted` for a job that this machine could never run."""
        field = _FIELDS[job.training_input is not None]
        refuse_impossible(project, self._demand_of(job), self.inventory, self._free, field=field)

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

    def gpus_of(self, record: JobRecord) -> tuple[str, ...]:
        """Return the ids of the GPUs that a started job holds."""
        if not self._demand(record).gpus:
            return ()
        return notes.claimed_gpus(self._folder_of(record))

    def hold(self, record: JobRecord, admission: Admission) -> None:
        """Write down which GPUs a job is about to be given, before it is."""
        if admission.claim.gpu_ids:
            notes.write_claimed_gpus(self._folder_of(record), admission.claim.gpu_ids)

    def over_commitment(self, job: Job) -> str:
        """Say how far a job goes beyond the machine."""
        asked = self._demand_of(job)
        wanted = Inventory(asked.cpus, asked.memory_bytes, self.inventory.gpus[: asked.gpus])
        return (
            f"The job asks for {wanted}; this machine has {self.inventory}: it is over-committed."
        )

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
