"""Which of the queued jobs start now. Pure: no clock, store or process.

What a job counts
    The machine is divided into `slots` equal shares (setting ``max_running_jobs``; one a CPU, at
    least two). A job that does not insist counts one share a replica, whatever machine types it
    names, and at most the whole machine: so two small jobs run side by side on the smallest
    laptop, and a job wider than the machine runs over-committed, one such at a time. A strict job
    (``options.strictResources``) counts the very CPUs and memory that it asks for, and at least
    one share's worth of slots. GPUs are never shared: a job holds ids of its own.

Who goes first
    Priority, then age. A gang is started whole or not at all. The first job that does not fit
    holds back everybody behind it, with one exception: when all that it lacks is GPUs, its CPUs
    and memory are set aside, and jobs without GPUs may use what is left. Nobody who comes later
    takes what the head of the queue waits for, so once the jobs before it have ended it starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from mlengine.core.errors import ResourceExhausted
from mlengine.training.inventory import Inventory

__all__ = [
    "Admission",
    "Claim",
    "Demand",
    "choose",
    "claim_of",
    "free_of",
    "is_over_committed",
    "refuse_impossible",
]

_ROUNDING = 1e-6  # shares are fractions: three thirds are one machine


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What a job asks for, all replicas together.

    Attributes:
        strict: It must have what it asks for; otherwise CPUs and memory may be over-committed.
    """

    replicas: int = 1
    cpus: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0
    strict: bool = False


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a job counts while it runs; `gpu_ids` are the devices that are its alone."""

    slots: int = 1
    cpus: float = 0.0
    memory_bytes: float = 0.0
    gpus: int = 0
    gpu_ids: tuple[str, ...] = ()


class Admission(msgspec.Struct, frozen=True):
    """A queued job that may start, and the GPUs that it gets."""

    uid: str
    claim: Claim


def claim_of(demand: Demand, inventory: Inventory, slots: int) -> Claim:
    """Return what a job counts on this machine.

    Example:
        >>> laptop = Inventory(cpus=2.0, memory_bytes=8 << 30)
        >>> claim_of(Demand(cpus=4.0), laptop, slots=2).cpus
        1.0
    """
    shares = min(max(demand.replicas, 1), slots)
    cpus = inventory.cpus * shares / slots
    memory = inventory.memory_bytes * shares / slots
    if demand.strict:
        cpus, memory, shares = demand.cpus, float(demand.memory_bytes), 1
    return Claim(slots=shares, cpus=cpus, memory_bytes=memory, gpus=demand.gpus)


def free_of(inventory: Inventory, slots: int, running: Iterable[Claim]) -> Claim:
    """Return what is left beside the running jobs; less than nothing is nothing."""
    claims = list(running)
    held = {gpu for claim in claims for gpu in claim.gpu_ids}
    ids = tuple(gpu for gpu in inventory.gpus if gpu not in held)
    return Claim(
        slots=max(slots - sum(c.slots for c in claims), 0),
        cpus=max(inventory.cpus - sum(c.cpus for c in claims), 0.0),
        memory_bytes=max(inventory.memory_bytes - sum(c.memory_bytes for c in claims), 0.0),
        gpus=len(ids),
        gpu_ids=ids,
    )


def choose(
    inventory: Inventory,
    slots: int,
    running: Iterable[Claim],
    queue: Sequence[tuple[str, Demand]],
) -> list[Admission]:
    """Return the jobs to start now, in order.

    Args:
        inventory: What the machine has.
        slots: Into how many shares it is divided; 0 starts nothing.
        running: What jobs that were started count.
        queue: Uid and demand of queued jobs, the head first; the end may be cut off.
    """
    free = free_of(inventory, slots, running)
    admitted: list[Admission] = []
    gpus_wanted = False  # somebody ahead waits for GPUs only
    for uid, demand in queue:
        if slots == 0 or free.slots == 0:
            break
        claim = claim_of(demand, inventory, slots)
        if not _fits(claim, free):
            break
        if claim.gpus > free.gpus or (claim.gpus and gpus_wanted):
            if not gpus_wanted:
                free = _less(free, claim, keep_gpus=True)
            gpus_wanted = True
            continue
        claim = msgspec.structs.replace(claim, gpu_ids=free.gpu_ids[: claim.gpus])
        free = _less(free, claim)
        admitted.append(Admission(uid, claim))
    return admitted


def refuse_impossible(
    project: str, demand: Demand, inventory: Inventory, free: Claim, *, field: str
) -> None:
    """Raise if the machine could never run the job, however long it waits.

    Raises:
        ResourceExhausted: It says what is asked, what there is, and what of that is free.
    """
    lacking = []
    if demand.gpus > len(inventory.gpus):
        lacking.append((f"{demand.gpus} GPU{'s' * (demand.gpus > 1)}", str(len(inventory.gpus)),
                        str(free.gpus)))  # fmt: skip
    if demand.strict and demand.cpus > inventory.cpus + _ROUNDING:
        lacking.append((f"{demand.cpus:g} CPUs", f"{inventory.cpus:g}", f"{free.cpus:.2g}"))
    if demand.strict and demand.memory_bytes > inventory.memory_bytes:
        lacking.append((f"{_gib(demand.memory_bytes)} of memory", _gib(inventory.memory_bytes),
                        _gib(free.memory_bytes)))  # fmt: skip
    if not lacking:
        return
    texts = [
        f"The request for {asked} exceeds what there is for jobs: {has} ({now} free now)."
        for asked, has, now in lacking
    ]
    raise ResourceExhausted(
        f"Quota failure for project {project}. {' '.join(texts)}",
        _remedy(demand, inventory),
        field=field,
    )


def _remedy(demand: Demand, inventory: Inventory) -> str:
    if demand.gpus <= len(inventory.gpus):
        return "Ask for less, or leave strictResources out to run over-committed."
    if inventory.gpus:
        return "Ask for fewer GPUs."
    return (
        "There is no GPU for jobs (see the settings gpus and serving_gpus): use --scale-tier "
        "basic, or machine types without GPUs and without acceleratorConfig."
    )


def is_over_committed(demand: Demand, inventory: Inventory) -> bool:
    """Tell whether a job asks for more than the machine has, all of it free."""
    return demand.cpus > inventory.cpus or demand.memory_bytes > inventory.memory_bytes


def _fits(claim: Claim, free: Claim) -> bool:
    """Tell whether slots, CPUs and memory suffice; GPUs are looked at apart."""
    return (
        claim.slots <= free.slots
        and claim.cpus <= free.cpus + _ROUNDING
        and claim.memory_bytes <= free.memory_bytes + 1.0
    )


def _less(free: Claim, claim: Claim, *, keep_gpus: bool = False) -> Claim:
    ids = free.gpu_ids if keep_gpus else free.gpu_ids[claim.gpus :]
    return Claim(
        slots=free.slots - claim.slots,
        cpus=max(free.cpus - claim.cpus, 0.0),
        memory_bytes=max(free.memory_bytes - claim.memory_bytes, 0.0),
        gpus=len(ids),
        gpu_ids=ids,
    )


def _gib(size: float) -> str:
    return f"{size / (1 << 30):.1f} GiB"
