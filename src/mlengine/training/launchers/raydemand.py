"""What a cluster has for jobs, and what each job counts on it. Pure.

A replica counts what it will reserve there: what its machine type names, but no more than the
largest node has. So as many jobs start at one time as the cluster has room for, and the others wait
in the engine's queue, where priority and age are known, not in Ray's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from mlengine.core.resources import Job
from mlengine.training.admission import Demand
from mlengine.training.inventory import Inventory
from mlengine.training.kinds import demand_of
from mlengine.training.launchers.rayplaces import Node
from mlengine.training.plan import plan_replicas

__all__ = ["UNKNOWN", "cluster_demand", "inventory_of"]

UNKNOWN = Inventory(1e6, 1 << 60, tuple(map(str, range(4096))))
"""Taken for the cluster until it was seen: nothing is refused that it may well have."""


def inventory_of(nodes: Sequence[Node]) -> Inventory:
    """Return what the nodes have together; its GPUs have numbers only, for Ray hands them out.

    Example:
        >>> inventory_of([Node(name="a", cpus=2, memory_bytes=8, gpus=1)] * 2)
        Inventory(cpus=4, memory_bytes=16, gpus=('0', '1'))
    """
    return Inventory(
        sum(node.cpus for node in nodes),
        sum(node.memory_bytes for node in nodes),
        tuple(str(n) for n in range(sum(node.gpus for node in nodes))),
    )


def cluster_demand(nodes: Callable[[], Sequence[Node]]) -> Callable[[Job], Demand]:
    """Return what says what a job counts on the cluster that has these nodes at the time."""

    def demand(job: Job) -> Demand:
        asked, there = demand_of(job), nodes()
        if job.training_input is None:
            return msgspec.structs.replace(asked, cpus=1.0, strict=True)
        if asked.strict or not there:
            return asked
        widest, total = max(n.cpus for n in there), inventory_of(there)
        largest = max(n.memory_bytes for n in there)
        roles = plan_replicas(job.training_input).roles
        cpus = sum(r.count * min(float(r.machine.cpus), widest) for r in roles)
        memory = sum(r.count * min(r.machine.memory_bytes, largest) for r in roles)
        return msgspec.structs.replace(
            asked, cpus=min(cpus, total.cpus), memory_bytes=min(memory, total.memory_bytes),
            strict=True,
        )  # fmt: skip

    return demand
