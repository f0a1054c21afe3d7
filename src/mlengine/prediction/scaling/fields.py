"""What a version's machine type and scaling fields mean here: every one is honoured, or refused.

A node is a worker process. A machine type says how many cores one call of a worker may use, and
whether the version may sleep: those of the old service's own machines (``mls1-…``) do so unless
``minNodes`` says otherwise, those of Compute Engine keep a node. GPUs, of an ``acceleratorConfig``
or of the machine type, are each worker's alone, out of those that the engine keeps for versions.
"""

from __future__ import annotations

from typing import Any, Final

from mlengine.core.errors import EngineError, InvalidArgument, ResourceExhausted, did_you_mean
from mlengine.core.resources import AcceleratorConfig, Version
from mlengine.models.checks import may_sleep
from mlengine.prediction.scaling.autoscale import Bounds
from mlengine.training.machines import find_machine, gpus_of

__all__ = ["bounds_of", "check_machine", "check_scaling", "node_gpus", "threads_of"]

_OWN_MACHINES: Final = {"mls1-c1-m2": 1, "mls1-c4-m2": 4}
_MOST_NODES: Final = 64
_BUSY_TARGET: Final = 60
_ACCELERATORS: Final = "version.accelerator_config"
_ON_CPUS: Final = ("SCIKIT_LEARN", "XGBOOST", "ONNX")


def check_machine(version: Version) -> None:
    """Refuse a machine type, or GPUs, that no worker can have, whatever the engine has.

    Raises:
        InvalidArgument: There is no such type, no such accelerator, none for such a machine, or
            nothing of the version would compute on it.
    """
    _cpus_of(version)
    asked = version.accelerator_config
    if may_sleep(version.machine_type):
        if asked is not None and asked != AcceleratorConfig():
            name = version.machine_type or "mls1-c1-m2, which it has if it names none"
            raise InvalidArgument(
                f"GPUs go with machine types of Compute Engine, not with {name}.",
                "Set machineType to one such as 'n1-standard-4'.", field=_ACCELERATORS,
            )  # fmt: skip
        return
    machine = find_machine(version.machine_type)
    if gpus_of(machine, asked, field=_ACCELERATORS)[0]:
        _check_use(version, "version.machine_type" if machine.gpus else _ACCELERATORS)


def _check_use(version: Version, field: str) -> None:
    """Refuse GPUs on which nothing would be computed."""
    if version.framework in _ON_CPUS:
        raise InvalidArgument(
            f"{version.framework} models are served on CPUs.",
            "Leave the GPUs out: TensorFlow, Keras and custom prediction routines may have some.",
            field=field,
        )
    if version.options is not None and version.options.compile:
        raise InvalidArgument(
            "A compiled version computes on CPUs.", "Leave out the GPUs, or options.compile.",
            field=field,
        )  # fmt: skip


def check_scaling(version: Version, *, gpus: int = 0) -> None:
    """Refuse a scaling that cannot be honoured.

    Args:
        gpus: How many the engine keeps for versions.

    Raises:
        InvalidArgument: Two ways of scaling, two metrics, or a number of nodes or metric that
            cannot be.
        ResourceExhausted: Its fewest workers need more GPUs than there are for versions.
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
    _check_gpus(version, gpus)


def _check_gpus(version: Version, gpus: int) -> None:
    each = node_gpus(version)
    least = bounds_of(version, cpus=1.0, idle_after_s=0.0).min_nodes
    if each * least <= gpus:
        return
    workers = f"{least} workers with {each} each" if least > 1 else "a worker"
    raise ResourceExhausted(
        f"The request for {each * least} GPU{'s' * (each * least > 1)}, for {workers}, exceeds "
        f"the {gpus} that this engine keeps for versions.",
        "Give versions some of the machine's with the setting serving_gpus (its ids, as nvidia-smi "
        "-L numbers them) and start the engine again, or ask for fewer.",
        field=_ACCELERATORS,
    )


def node_gpus(version: Version) -> int:
    """Return how many GPUs each of a version's workers has.

    Example:
        >>> node_gpus(Version(machine_type="a2-highgpu-2g"))
        2
    """
    if may_sleep(version.machine_type):
        return 0
    try:
        machine = find_machine(version.machine_type)
        return gpus_of(machine, version.accelerator_config, field=_ACCELERATORS)[0]
    except EngineError:  # an older mlengine took any word
        return 0


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
            "The use of GPUs is not measured.", "Use CPU_USAGE.", field=field,
        )  # fmt: skip
    if name != "CPU_USAGE":
        raise InvalidArgument(f"{name!r} is no metric to scale by.", "Use CPU_USAGE.", field=field)
    if not isinstance(target, int) or isinstance(target, bool) or not 1 <= target <= 100:
        raise InvalidArgument(
            f"The target of CPU_USAGE is {target!r}.", "Use a whole number, 1 to 100.", field=field
        )
    if unknown := sorted(set(metric) - {"name", "target"}):
        raise InvalidArgument(f"A metric has no '{unknown[0]}'.", "Use name, target.", field=field)
