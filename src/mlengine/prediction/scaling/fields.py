"""What a version's machine type and scaling fields mean here: every one is honoured, or refused.

A node is a worker process. A machine type says how many cores one call of a worker may use, and
whether the version may sleep: those of the old service's own machines (``mls1-…``) do so unless
``minNodes`` says otherwise, those of Compute Engine keep a node.
"""

from __future__ import annotations

from typing import Any, Final

from mlengine.core.errors import EngineError, InvalidArgument, did_you_mean
from mlengine.core.resources import Version
from mlengine.models.checks import may_sleep
from mlengine.prediction.scaling.autoscale import Bounds
from mlengine.training.machines import find_machine

__all__ = ["bounds_of", "check_machine", "check_scaling", "threads_of"]

_OWN_MACHINES: Final = {"mls1-c1-m2": 1, "mls1-c4-m2": 4}
_MOST_NODES: Final = 64
_BUSY_TARGET: Final = 60


def check_machine(version: Version) -> None:
    """Refuse a machine type that cannot be honoured; GPUs are, as acceleratorConfig is.

    Raises:
        InvalidArgument: There is no such type, or it has GPUs.
    """
    _cpus_of(version)
    name = version.machine_type
    if not may_sleep(name) and find_machine(name).gpus:
        raise InvalidArgument(
            f"The machine type {name!r} has GPUs, and versions are served on CPUs.",
            "Use one without, such as 'n1-standard-8'. Jobs may have GPUs.",
            field="version.machine_type",
        )


def check_scaling(version: Version) -> None:
    """Refuse a scaling that cannot be honoured.

    Raises:
        InvalidArgument: Two ways of scaling, two metrics, or a number of nodes or metric that
            cannot be.
    """
    auto, manual = version.auto_scaling, version.manual_scaling
    if auto is not None and manual is not None:
        raise InvalidArgument(
            "A version scales by hand or by itself.", "Send autoScaling or manualScaling.",
            field="version.manual_scaling",
        )  # fmt: skip
    if manual is not None:
        _check_nodes(manual.nodes, 1, "version.manual_scaling.nodes")
    if auto is not None:
        field = "version.auto_scaling"
        _check_nodes(auto.min_nodes, 0, f"{field}.min_nodes")
        _check_nodes(auto.max_nodes, 0, f"{field}.max_nodes")
        if auto.max_nodes and auto.max_nodes < auto.min_nodes:
            raise InvalidArgument(
                f"maxNodes is {auto.max_nodes}, minNodes {auto.min_nodes}.",
                "The most cannot be less than the least.", field=f"{field}.max_nodes",
            )  # fmt: skip
        _check_metrics(auto.metrics, f"{field}.metrics")


def bounds_of(version: Version, *, cpus: float, idle_after_s: float) -> Bounds:
    """Return between what a version may scale.

    Args:
        cpus: Of this machine. Where ``maxNodes`` does not say, a core is left for the gateway.
        idle_after_s: Without a prediction for so long it sleeps, if it may.

    Example:
        >>> bounds_of(Version(), cpus=4.0, idle_after_s=900.0)
        Bounds(min_nodes=0, max_nodes=3, busy_target=0.6, idle_after_s=900.0)
    """
    if version.manual_scaling is not None:
        nodes = version.manual_scaling.nodes
        return Bounds(nodes, nodes, _BUSY_TARGET / 100, idle_after_s)
    auto = version.auto_scaling
    least = auto.min_nodes if auto is not None else 0
    if not may_sleep(version.machine_type):
        least = max(least, 1)
    most = auto.max_nodes if auto is not None else 0
    target = next((float(m["target"]) for m in (auto.metrics if auto else [])), _BUSY_TARGET)
    return Bounds(least, most or max(least, int(cpus) - 1, 1), target / 100, idle_after_s)


def threads_of(version: Version, *, cpus: float) -> int:
    """Return how many cores one call of the version's workers may use."""
    try:
        wanted = _cpus_of(version)
    except EngineError:  # an older mlengine took any word
        return 1
    return max(min(wanted, int(cpus)), 1)


def _cpus_of(version: Version) -> int:
    name = version.machine_type
    if not may_sleep(name):
        return find_machine(name, field="version.machine_type").cpus
    if name and name not in _OWN_MACHINES:
        raise InvalidArgument(
            f"{name!r} is not a machine type.",
            did_you_mean(name, list(_OWN_MACHINES)) + f"Use one of {', '.join(_OWN_MACHINES)}.",
            field="version.machine_type",
        )  # fmt: skip
    return _OWN_MACHINES.get(name, 1)


def _check_nodes(nodes: int, least: int, field: str) -> None:
    if not least <= nodes <= _MOST_NODES:
        raise InvalidArgument(
            f"{nodes} nodes are not possible.", f"Use {least} to {_MOST_NODES}.", field=field
        )


def _check_metrics(metrics: list[dict[str, Any]], field: str) -> None:
    for metric in metrics:
        _check_metric(metric, field)
    if len(metrics) > 1:  # all are CPU_USAGE, and only one target can be aimed at
        targets = ", ".join(str(metric["target"]) for metric in metrics[:8])
        raise InvalidArgument(
            f"There are {len(metrics)} targets for CPU_USAGE: {targets}.", "Send one metric.",
            field=field,
        )  # fmt: skip


def _check_metric(metric: dict[str, Any], field: str) -> None:
    name, target = metric.get("name"), metric.get("target")
    if name == "GPU_DUTY_CYCLE":
        raise InvalidArgument(
            "The use of GPUs is not measured: versions are served on CPUs.",
            "Use CPU_USAGE.", field=field,
        )  # fmt: skip
    if name != "CPU_USAGE":
        raise InvalidArgument(f"{name!r} is no metric to scale by.", "Use CPU_USAGE.", field=field)
    if not isinstance(target, int) or isinstance(target, bool) or not 1 <= target <= 100:
        raise InvalidArgument(
            f"The target of CPU_USAGE is {target!r}.", "Use a whole number, 1 to 100.", field=field
        )
    if unknown := sorted(set(metric) - {"name", "target"}):
        raise InvalidArgument(f"A metric has no '{unknown[0]}'.", "Use name, target.", field=field)
