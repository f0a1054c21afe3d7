"""Which replicas a training input asks for, on what machines: wants, not what there is.

    scale tier     master               workers              parameter servers
    BASIC          n1-standard-4        -                    -
    STANDARD_1     n1-highcpu-8         4 × n1-highcpu-8     3 × n1-standard-4
    PREMIUM_1      n1-highcpu-16        19 × n1-highcpu-16   11 × n1-highmem-8
    BASIC_GPU      n1-standard-8 + K80  -                    -
    CUSTOM         what the fields say, evaluators too

Pure. A machine that has less runs a plan over-committed unless it is told not to: `admission`
decides that. Roles have the names of the logs; what ``TF_CONFIG`` calls the first is `tfconfig`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mlengine.core.choices import SCALE_TIERS
from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.resources import ReplicaConfig, TrainingInput
from mlengine.core.wire import camel
from mlengine.training.machines import GPU_USD_PER_HOUR, MachineType, find_machine, gpus_of

__all__ = ["MAX_REPLICAS", "ROLE_FIELDS", "ReplicaPlan", "RolePlan", "plan_replicas"]


MAX_REPLICAS = 256
"""Most replicas of a job, all roles together: each is at least one process of this machine."""

ROLE_FIELDS = {
    "master": "master", "worker": "worker", "ps": "parameter_server", "evaluator": "evaluator",
}  # fmt: skip
"""Role → the start of its fields' names, in the order of a plan."""

_TIERS = {  # role: how many, of what, with how many K80
    "BASIC": {"master": (1, "n1-standard-4", 0)},
    "STANDARD_1": {
        "master": (1, "n1-highcpu-8", 0), "worker": (4, "n1-highcpu-8", 0),
        "ps": (3, "n1-standard-4", 0),
    },
    "PREMIUM_1": {
        "master": (1, "n1-highcpu-16", 0), "worker": (19, "n1-highcpu-16", 0),
        "ps": (11, "n1-highmem-8", 0),
    },
    "BASIC_GPU": {"master": (1, "n1-standard-8", 1)},
}  # fmt: skip
_BASIC_GPU_TYPE = "NVIDIA_TESLA_K80"


class RolePlan(msgspec.Struct, frozen=True, kw_only=True):
    """All replicas of one role.

    Attributes:
        role: ``master``, ``worker``, ``ps`` or ``evaluator``.
        gpus: Of each replica, its machine's own and added ones.
        usd_per_hour: Of each replica.
    """

    role: str
    count: int
    machine: MachineType
    gpus: int = 0
    gpu_type: str = ""
    usd_per_hour: float = 0.0

    def __str__(self) -> str:
        """Say it for people, such as ``3 ps (n1-standard-4)``."""
        gpus = f" + {self.gpus} {self.gpu_type}" if self.gpus else ""
        return f"{self.count} {self.role} ({self.machine.name}{gpus})"


class ReplicaPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All replicas of a job, the master first.

    Attributes:
        tier: The scale tier that was asked for, ``BASIC`` if none.
    """

    tier: str
    roles: tuple[RolePlan, ...]

    @property
    def replicas(self) -> int:
        """How many there are."""
        return sum(r.count for r in self.roles)

    @property
    def cpus(self) -> int:
        """CPUs of all machines together."""
        return sum(r.count * r.machine.cpus for r in self.roles)

    @property
    def memory_bytes(self) -> int:
        """Memory of all machines together."""
        return sum(r.count * r.machine.memory_bytes for r in self.roles)

    @property
    def gpus(self) -> int:
        """GPUs of all replicas together."""
        return sum(r.count * r.gpus for r in self.roles)

    @property
    def usd_per_hour(self) -> float:
        """What the cloud would charge for an hour of all of them."""
        return round(sum(r.count * r.usd_per_hour for r in self.roles), 2)

    def counts(self, primary: str = "master") -> dict[str, int]:
        """Return how many replicas each role has, the first one called `primary`."""
        return {primary if r.role == "master" else r.role: r.count for r in self.roles}

    def threads(self, role: str, *, machine_cpus: float) -> int:
        """Return how many threads a replica should compute with; 0 leaves it to its libraries.

        Libraries start a thread for every CPU that they see. That is right for a replica that is
        alone; several on one machine would fight, so each gets its share of the machine, but no
        more than its own machine type has.

        Example:
            >>> plan = plan_replicas(TrainingInput(scale_tier="STANDARD_1"))
            >>> plan.threads("worker", machine_cpus=26), plan.threads("worker", machine_cpus=2)
            (4, 1)
        """
        if self.replicas == 1:
            return 0
        own = next(r.machine.cpus for r in self.roles if r.role == role)
        return max(int(own * min(machine_cpus / self.cpus, 1.0)), 1)

    def describe(self) -> list[str]:
        """Return the plan as lines for the job's log."""
        return [f"Replicas: {self.members()}.", f"Together: {self.totals()}."]

    def members(self) -> str:
        """Return who there is, in one phrase."""
        return ", ".join(map(str, self.roles))

    def totals(self) -> str:
        """Return what it comes to, in one phrase."""
        gpus = f", {self.gpus} GPU{'s' * (self.gpus > 1)}" if self.gpus else ""
        return (
            f"{self.replicas} replica{'s' * (self.replicas > 1)}, {self.cpus} CPUs, "
            f"{self.memory_bytes / (1 << 30):g} GiB of memory{gpus}; "
            f"in the cloud about ${self.usd_per_hour:.2f} an hour"
        )


def plan_replicas(spec: TrainingInput) -> ReplicaPlan:
    """Return which replicas a training input asks for.

    Raises:
        InvalidArgument: An unknown tier, machine or accelerator, fields of CUSTOM without it,
            a type without a count or the reverse, both families of machines.

    Example:
        >>> plan_replicas(TrainingInput(scale_tier="BASIC_GPU")).describe()[0]
        'Replicas: 1 master (n1-standard-8 + 1 NVIDIA_TESLA_K80).'
    """
    tier = "" if spec.scale_tier == "SCALE_TIER_UNSPECIFIED" else spec.scale_tier
    tier = tier or "BASIC"
    if tier not in SCALE_TIERS:
        hint = did_you_mean(tier.upper(), SCALE_TIERS)
        raise _bad("scale_tier", f"{tier!r} is not a scale tier.", f"{hint}Use BASIC or CUSTOM.")
    if tier == "BASIC_TPU":
        raise _bad(
            "scale_tier", "The scale tier BASIC_TPU needs a TPU: there are none here.",
            "Use BASIC, BASIC_GPU or CUSTOM.",
        )  # fmt: skip
    if tier == "CUSTOM":
        plan = ReplicaPlan(tier=tier, roles=tuple(_custom(spec)))
        if plan.replicas > MAX_REPLICAS:
            widest = max(plan.roles, key=lambda r: r.count)
            raise _bad(f"{ROLE_FIELDS[widest.role]}_count", f"{plan.replicas} replicas are too "
                       "many.", f"Use at most {MAX_REPLICAS} together.")  # fmt: skip
        return plan
    _refuse_custom_fields(spec, tier)
    return ReplicaPlan(tier=tier, roles=tuple(
        _role(role, count, find_machine(name), gpus, _BASIC_GPU_TYPE if gpus else "")
        for role, (count, name, gpus) in _TIERS[tier].items()
    ))  # fmt: skip


def _refuse_custom_fields(spec: TrainingInput, tier: str) -> None:
    for start in ROLE_FIELDS.values():
        for end in ("type", "count", "config.accelerator_config"):
            path = f"{start}_{end}"
            if _value(spec, path):
                raise _bad(
                    path, f"{camel(path)} goes with scaleTier CUSTOM, not {tier}.",
                    f"Set scaleTier to CUSTOM, or leave {camel(path)} out.",
                )  # fmt: skip


def _custom(spec: TrainingInput) -> Iterator[RolePlan]:
    if not spec.master_type:
        raise _bad("master_type", "The scale tier CUSTOM needs a masterType.",
                   "Set one, such as 'n1-standard-4'.")  # fmt: skip
    families: dict[str, str] = {}
    for role, start in ROLE_FIELDS.items():
        count = 1 if role == "master" else _count(spec, start)
        name = str(getattr(spec, f"{start}_type"))
        config: ReplicaConfig | None = getattr(spec, f"{start}_config")
        accelerator = config.accelerator_config if config else None
        if not count:
            if accelerator is not None:
                raise _bad(f"{start}_config.accelerator_config",
                           f"There are accelerators for {role} replicas, but no such replica.",
                           f"Set {camel(start + '_count')}, or leave them out.")  # fmt: skip
            continue
        machine = find_machine(name, field=f"training_input.{start}_type")
        families.setdefault(machine.family, name)
        if len(families) > 1:
            raise _bad(
                f"{start}_type",
                f"The machine types {' and '.join(families.values())} are of two families.",
                "Use names of Compute Engine ('n1-standard-4') for all, or for none.",
            )
        where = f"training_input.{start}_config.accelerator_config"
        gpus, gpu_type = gpus_of(machine, accelerator, field=where)
        yield _role(role, count, machine, gpus, gpu_type)


def _count(spec: TrainingInput, start: str) -> int:
    """Return a role's count, once it fits its type."""
    count, name = int(getattr(spec, f"{start}_count")), getattr(spec, f"{start}_type")
    count_field, type_field = f"{start}_count", f"{start}_type"
    if count < 0:
        raise _bad(count_field, f"{camel(count_field)} is {count}.", "Use 0 or more.")
    if count and not name:
        raise _bad(type_field, f"{camel(count_field)} is {count}, but there is no "
                   f"{camel(type_field)}.", "Set one, such as 'n1-standard-4'.")  # fmt: skip
    if name and not count:
        raise _bad(count_field, f"{camel(type_field)} is set, but {camel(count_field)} is not.",
                   "Set it to 1 or more, or leave the type out.")  # fmt: skip
    return count


def _role(role: str, count: int, machine: MachineType, gpus: int, gpu_type: str) -> RolePlan:
    added = gpus - machine.gpus
    usd = machine.usd_per_hour + added * GPU_USD_PER_HOUR.get(gpu_type, 0.0)
    return RolePlan(
        role=role, count=count, machine=machine, gpus=gpus, gpu_type=gpu_type,
        usd_per_hour=round(usd, 4),
    )  # fmt: skip


def _value(spec: TrainingInput, path: str) -> object:
    value: object = spec
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _bad(path: str, problem: str, remedy: str) -> InvalidArgument:
    return InvalidArgument(problem, remedy, field=f"training_input.{path}")
