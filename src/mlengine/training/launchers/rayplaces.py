"""How much of a cluster each replica reserves, and what its environment says once it is placed.

A replica reserves what its machine type names. A job that is larger than the cluster runs all the
same, as it does on a laptop: CPUs and memory of all its replicas shrink alike until they fit into
the empty cluster. GPUs never shrink, nor does anything of a job that insists on what it asked for.

Pure: values in, values out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

__all__ = ["ClusterView", "Node", "Unplaceable", "Want", "bundles", "fits", "relocate", "wants"]

_STEPS = 20
_LEAST_CPUS = 0.01  # Ray counts in hundredths
_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")
_ADDRESSES = ("TF_CONFIG", "CLUSTER_SPEC", "JAX_COORDINATOR_ADDRESS")


class Unplaceable(Exception):
    """No node, or not all nodes together, can ever hold the replicas; says what lacks."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What a node has for everybody together, in use or not."""

    name: str
    cpus: float
    memory_bytes: int
    gpus: int = 0


class ClusterView(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a cluster.

    Attributes:
        nodes: Those that are alive.
        problem: Why it cannot be used now; empty when it can.
        final: The problem does not pass by itself.
    """

    nodes: list[Node] = []
    problem: str = ""
    final: bool = False


class Want(NamedTuple):
    """What one replica should have; `strict` must be had in full."""

    cpus: float
    memory_bytes: int
    gpus: int = 0
    strict: bool = False


def wants(replicas: Iterable[Mapping[str, Any]]) -> list[Want]:
    """Return what the replicas of a ``spec.json`` want; a CPU each if nothing was asked for."""
    found = []
    for replica in replicas:
        machine = replica.get("machine") or {"cpus": 1.0, "memory_bytes": 0, "gpus": 0}
        strict = bool(replica.get("cpus") or replica.get("memory_bytes"))
        found.append(Want(machine["cpus"], machine["memory_bytes"], machine["gpus"], strict))
    return found


def bundles(replicas: Sequence[Want], nodes: Sequence[Node]) -> list[dict[str, float]]:
    """Return the bundles of a placement group, one a replica.

    Raises:
        Unplaceable: The empty cluster has no room for them.

    Example:
        >>> node = Node(name="n", cpus=2, memory_bytes=8 << 30)
        >>> [b["CPU"] for b in bundles([Want(4, 1 << 30), Want(4, 1 << 30)], [node])]
        [1.0, 1.0]
    """
    least = [_shrunk(want, 0.0, 0.0) for want in replicas]
    if not _fit(least, nodes):
        raise Unplaceable(_lacking(replicas, nodes))
    memory = _largest(lambda part: _fit([_shrunk(w, 0.0, part) for w in replicas], nodes))
    cpus = _largest(lambda part: _fit([_shrunk(w, part, memory) for w in replicas], nodes))
    return [_bundle(_shrunk(want, cpus, memory)) for want in replicas]


def fits(places: Iterable[Mapping[str, float]], nodes: Sequence[Node]) -> bool:
    """Return whether bundles have room together in the empty cluster.

    Example:
        >>> fits([{"CPU": 1}, {"CPU": 1}], [Node(name="n", cpus=2, memory_bytes=0)])
        True
    """
    asked = [
        Want(place["CPU"], int(place.get("memory", 0)), int(place.get("GPU", 0)))
        for place in places
    ]
    return _fit(asked, nodes)


def relocate(env: Mapping[str, str], places: Mapping[int, tuple[str, int]]) -> dict[str, str]:
    """Return an environment in which everybody's address is the one that was found for it.

    Args:
        places: Port that the specification names on 127.0.0.1 → host and port of its owner.

    Example:
        >>> relocate({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "7"}, {7: ("10.0.0.2", 9)})
        {'MASTER_ADDR': '10.0.0.2', 'MASTER_PORT': '9'}
    """

    def placed(found: re.Match[str]) -> str:
        host, port = places.get(int(found[1]), ("127.0.0.1", int(found[1])))
        return f"{host}:{port}"

    moved = dict(env)
    for name in _ADDRESSES:
        if name in moved:
            moved[name] = _ADDRESS.sub(placed, moved[name])
    master = moved.get("MASTER_PORT", "")
    if master.isdigit() and int(master) in places:
        host, port = places[int(master)]
        moved |= {"MASTER_ADDR": host, "MASTER_PORT": str(port)}
    return moved


def _shrunk(want: Want, cpus: float, memory: float) -> Want:
    if want.strict:
        return want
    return want._replace(
        cpus=max(want.cpus * cpus, _LEAST_CPUS), memory_bytes=int(want.memory_bytes * memory)
    )


def _fit(replicas: Sequence[Want], nodes: Sequence[Node]) -> bool:
    """Tell whether they fit into the empty nodes, the largest first, each on the first that can."""
    free = [[n.gpus, n.cpus + 1e-9, n.memory_bytes] for n in nodes]
    for want in sorted(replicas, key=lambda w: (w.gpus, w.cpus, w.memory_bytes), reverse=True):
        asked = (want.gpus, want.cpus, want.memory_bytes)
        for left in free:
            if all(a <= f for a, f in zip(asked, left, strict=True)):
                left[:] = [f - a for a, f in zip(asked, left, strict=True)]
                break
        else:
            return False
    return True


def _largest(fits: Any) -> float:
    """Return the largest part, at most 1, that fits; 0 is known to."""
    if fits(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _step in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _bundle(want: Want) -> dict[str, float]:
    cpus = max(int(want.cpus * 100 + 1e-6) / 100, _LEAST_CPUS)
    found: dict[str, float] = {"CPU": cpus}
    if want.memory_bytes:
        found["memory"] = want.memory_bytes
    if want.gpus:
        found["GPU"] = want.gpus
    return found


def _lacking(replicas: Sequence[Want], nodes: Sequence[Node]) -> str:
    asked = ", ".join(map(_asked, replicas[:3])) + (", ..." if len(replicas) > 3 else "")
    have = ", ".join(f"{n.name} ({n.cpus:g} CPUs, {n.memory_bytes / (1 << 30):.1f} GiB, "
                     f"{n.gpus} GPUs)" for n in nodes[:8])  # fmt: skip
    count = f"{len(replicas)} replica{'s' * (len(replicas) > 1)}"
    return f"the cluster cannot hold {count} of {asked}; its nodes: {have or 'none'}"


def _asked(want: Want) -> str:
    gpus = f", {want.gpus} GPUs" if want.gpus else ""
    return f"{want.cpus:g} CPUs, {want.memory_bytes / (1 << 30):.1f} GiB{gpus}"
