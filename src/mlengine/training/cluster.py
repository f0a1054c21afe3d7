"""The replicas of one attempt as they see each other: addresses, ranks, where they meet.

    TF_CONFIG, CLUSTER_SPEC      TensorFlow: everybody's address by role (built in `tfconfig`)
    MASTER_ADDR, RANK, ...       PyTorch's env://: the primary and the workers, one process each
    JAX_COORDINATOR_ADDRESS ...  jax.distributed.initialize(): the same processes, a port apart
    MLENGINE_RANK, ...           for anything else: every replica, evaluators too

A program under ``torchrun`` finds the same names, so one that was written for it needs no change.
Pure; `ports` finds the ports. They are part of an attempt's specification: they stay the same as
long as the attempt lives, and the next attempt has others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import msgspec

__all__ = ["SERVICE_PORT", "Cluster", "addresses"]

SERVICE_PORT = 2222
"""Port of every replica on the original service, where each had a machine of its own. A replica
that is alone is told it here too: trainers print it, and nobody connects to it."""

CLUSTER_ROLES = ("master", "chief", "ps", "worker")
"""Roles that are members of the cluster, in the order of their ports; an evaluator watches only."""

_PRIMARIES = ("master", "chief")


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Who the replicas of an attempt are and where they meet.

    Attributes:
        counts: Role → how many, in the order of ranks: the primary first, then workers,
            parameter servers and evaluators.
        addresses: Of every member; evaluators have none.
        master_port: Where PyTorch's processes meet.
        coordinator_port: Where JAX's processes meet.
    """

    counts: dict[str, int]
    addresses: dict[str, list[str]]
    master_port: int
    coordinator_port: int

    @classmethod
    def of(
        cls, counts: Mapping[str, int], ports: Sequence[int], *, host: str = "127.0.0.1"
    ) -> Self:
        """Give everybody an address.

        Args:
            counts: As the attribute; roles without a replica are left out.
            ports: `ports_needed` of them: the members', then the two meeting points.

        Example:
            >>> Cluster.of({"master": 1}, [2222, 5000, 5001]).addresses
            {'master': ['127.0.0.1:2222']}
        """
        present = {role: count for role, count in counts.items() if count}
        *members, master_port, coordinator_port = ports
        return cls(
            counts=present,
            addresses=addresses(present, members, host=host),
            master_port=master_port,
            coordinator_port=coordinator_port,
        )

    @staticmethod
    def ports_needed(counts: Mapping[str, int]) -> int:
        """Return how many ports a cluster takes.

        Example:
            >>> Cluster.ports_needed({"chief": 1, "worker": 2, "evaluator": 1})
            5
        """
        return sum(count for role, count in counts.items() if role in CLUSTER_ROLES) + 2

    @property
    def primary(self) -> str:
        """``master`` or ``chief``: what the replica that speaks for the job is called."""
        return next(iter(self.counts))

    def rank(self, role: str, index: int) -> int:
        """Return a replica's number among all replicas, from 0; the primary has 0."""
        before = 0
        for other, count in self.counts.items():
            if other == role:
                break
            before += count
        return before + index

    def ports(self, role: str, index: int) -> list[int]:
        """Return the ports on which a replica listens; the primary is where others meet, too.

        Args:
            role: As in a plan: the primary is ``master`` whatever it is called here.

        Example:
            >>> Cluster.of({"chief": 1, "ps": 1}, [7001, 7002, 7003, 7004]).ports("master", 0)
            [7001, 7003, 7004]
        """
        name = self.primary if role == "master" else role
        own = [int(a.rpartition(":")[2]) for a in self.addresses.get(name, [])[index : index + 1]]
        return own + ([self.master_port, self.coordinator_port] if name == self.primary else [])

    def variables(self, role: str, index: int) -> dict[str, str]:
        """Return what tells a replica its place, beside ``TF_CONFIG``.

        Parameter servers and evaluators take no part in collectives: they get the plain names only.
        """
        rank = self.rank(role, index)
        plain = {
            # Always "master", as in the names of logs: a plain program need not know both words.
            "MLENGINE_ROLE": "master" if role in _PRIMARIES else role,
            "MLENGINE_INDEX": str(index),
            "MLENGINE_RANK": str(rank),
            "MLENGINE_WORLD_SIZE": str(sum(self.counts.values())),
        }
        return {**plain, **(self._collective(rank) if role in (*_PRIMARIES, "worker") else {})}

    def _collective(self, rank: int) -> dict[str, str]:
        world = str(1 + self.counts.get("worker", 0))
        return {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.master_port),
            "RANK": str(rank),
            "WORLD_SIZE": world,
            # Each replica is a machine of one process, as on the service.
            "LOCAL_RANK": "0",
            "LOCAL_WORLD_SIZE": "1",
            "GROUP_RANK": str(rank),
            "GROUP_WORLD_SIZE": world,
            "ROLE_RANK": str(rank),
            "ROLE_WORLD_SIZE": world,
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{self.coordinator_port}",
            "JAX_NUM_PROCESSES": world,
            "JAX_PROCESS_ID": str(rank),
        }


def addresses(
    counts: Mapping[str, int], ports: Sequence[int], *, host: str
) -> dict[str, list[str]]:
    """Give every member of a cluster its address.

    Args:
        counts: Role → how many replicas; absent and evaluator roles get no address.
        ports: At least one per member; taken in order: primary, parameter servers, workers.

    Example:
        >>> addresses({"chief": 1, "ps": 1, "evaluator": 1}, [2222, 2223], host="h")
        {'chief': ['h:2222'], 'ps': ['h:2223']}
    """
    left = iter(ports)
    return {
        role: [f"{host}:{next(left)}" for _ in range(counts[role])]
        for role in CLUSTER_ROLES
        if counts.get(role, 0)
    }
