"""What the names of machine types mean: CPUs, memory, GPUs and what the cloud would charge.

Compute Engine's names say what they are, ``n1-highmem-8``; the older names of this API stand for
one of those and, some of them, GPUs. Sizes are Google's documented ones; its "GB" are 2^30 bytes.

Prices are US dollars an hour, on demand, in us-central1, from the public price lists of VM
instances and GPUs (cloud.google.com/compute/vm-instance-pricing and /compute/gpus-pricing) as they
stood in 2024: good for "what would this cost there", not for a bill. Nothing is charged here.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

import msgspec

from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.resources import AcceleratorConfig

__all__ = [
    "ACCELERATORS", "GPU_USD_PER_HOUR", "MACHINE_TYPES", "MachineType", "find_machine", "gpus_of",
]  # fmt: skip

GIB = 1 << 30

GPU_USD_PER_HOUR = MappingProxyType({
    "NVIDIA_TESLA_K80": 0.45, "NVIDIA_TESLA_P100": 1.46, "NVIDIA_TESLA_V100": 2.48,
    "NVIDIA_TESLA_P4": 0.60, "NVIDIA_TESLA_T4": 0.35, "NVIDIA_TESLA_A100": 2.933908,
})  # fmt: skip
"""GPU type → its price alone."""

ACCELERATORS = (
    *GPU_USD_PER_HOUR, "TPU_V2", "TPU_V3", "TPU_V2_POD", "TPU_V3_POD", "TPU_V4_POD",
)  # fmt: skip
"""Every accelerator type of the API; the TPUs among them are refused by name."""


class MachineType(msgspec.Struct, frozen=True, kw_only=True):
    """One machine type.

    Attributes:
        gpus: GPUs that come with it; others are added by an `acceleratorConfig`.
        family: ``compute`` (Compute Engine's names) or ``legacy``: a job does not mix them.
        usd_per_hour: With its own GPUs.
    """

    name: str
    cpus: int
    memory_bytes: int
    gpus: int = 0
    gpu_type: str = ""
    usd_per_hour: float = 0.0
    family: str = "compute"


# Family: its price of a CPU and of a GiB, and per shape the GiB per CPU and the sizes.
_N_SIZES = (1, 2, 4, 8, 16, 32, 64, 96)
_N2_SIZES = (2, 4, 8, 16, 32, 48, 64, 80, 96, 128)
_E2_SIZES = (2, 4, 8, 16, 32)
_FAMILIES: dict[str, tuple[float, float, dict[str, tuple[float, tuple[int, ...]]]]] = {
    "n1": (0.031611, 0.004237, {
        "standard": (3.75, _N_SIZES), "highmem": (6.5, _N_SIZES[1:]), "highcpu": (0.9, _N_SIZES[1:])
    }),
    "n2": (0.031611, 0.004237, {
        "standard": (4.0, _N2_SIZES), "highmem": (8.0, _N2_SIZES), "highcpu": (1.0, _N2_SIZES[:-1])
    }),
    "e2": (0.02181159, 0.00292353, {
        "standard": (4.0, _E2_SIZES), "highmem": (8.0, _E2_SIZES[:-1]), "highcpu": (1.0, _E2_SIZES)
    }),
    "c2": (0.03398, 0.00455, {"standard": (4.0, (4, 8, 16, 30, 60))}),
}  # fmt: skip
_A2 = {  # name: CPUs, GiB, A100s
    "a2-highgpu-1g": (12, 85, 1), "a2-highgpu-2g": (24, 170, 2), "a2-highgpu-4g": (48, 340, 4),
    "a2-highgpu-8g": (96, 680, 8), "a2-megagpu-16g": (96, 1360, 16),
}  # fmt: skip
_LEGACY = {  # name: what it is equivalent to, GPUs and their type
    "standard": ("n1-standard-4", 0, ""),
    "large_model": ("n1-highmem-8", 0, ""),
    "complex_model_s": ("n1-highcpu-8", 0, ""),
    "complex_model_m": ("n1-highcpu-16", 0, ""),
    "complex_model_l": ("n1-highcpu-32", 0, ""),
    "standard_gpu": ("n1-standard-8", 1, "NVIDIA_TESLA_K80"),
    "complex_model_m_gpu": ("n1-standard-16", 4, "NVIDIA_TESLA_K80"),
    "complex_model_l_gpu": ("n1-standard-32", 8, "NVIDIA_TESLA_K80"),
    "standard_p100": ("n1-standard-8", 1, "NVIDIA_TESLA_P100"),
    "complex_model_m_p100": ("n1-standard-16", 4, "NVIDIA_TESLA_P100"),
    "standard_v100": ("n1-standard-8", 1, "NVIDIA_TESLA_V100"),
    "large_model_v100": ("n1-highmem-8", 1, "NVIDIA_TESLA_V100"),
    "complex_model_m_v100": ("n1-standard-16", 4, "NVIDIA_TESLA_V100"),
    "complex_model_l_v100": ("n1-standard-32", 8, "NVIDIA_TESLA_V100"),
}


def find_machine(name: str, *, field: str = "") -> MachineType:
    """Return what a name of a machine type means.

    Raises:
        InvalidArgument: It is none, or a TPU.

    Example:
        >>> find_machine("n1-highmem-8").memory_bytes == 52 * 2**30
        True
    """
    found = MACHINE_TYPES.get(name)
    if found is not None:
        return found
    if name == "cloud_tpu":
        raise InvalidArgument(
            "The machine type cloud_tpu is a TPU: there are none here.",
            "Use one such as 'n1-standard-8', with GPUs if the machine has some.", field=field,
        )  # fmt: skip
    raise InvalidArgument(
        f"{name!r} is not a machine type.",
        did_you_mean(name, MACHINE_TYPES) + "Use one such as 'n1-standard-4' or 'complex_model_m'.",
        field=field,
    )


def gpus_of(
    machine: MachineType, asked: AcceleratorConfig | None, *, field: str
) -> tuple[int, str]:
    """Return how many GPUs a replica, or a worker of a version, has on a machine, of which type.

    Args:
        asked: The GPUs that are added to it; those that come with the machine may be repeated.
        field: Where `asked` stands, for errors.

    Raises:
        InvalidArgument: There are no such accelerators, or the machine takes none.

    Example:
        >>> gpus_of(find_machine("standard_gpu"), None, field="")
        (1, 'NVIDIA_TESLA_K80')
    """
    if asked is None or asked == AcceleratorConfig():
        return machine.gpus, machine.gpu_type

    def bad(end: str, problem: str, remedy: str) -> InvalidArgument:
        return InvalidArgument(problem, remedy, field=field + end)

    if asked.type not in ACCELERATORS:
        hint = did_you_mean(asked.type.upper(), ACCELERATORS)
        raise bad(".type", f"{asked.type!r} is not a type of accelerator.",
                  f"{hint}GPUs are: {', '.join(GPU_USD_PER_HOUR)}.")  # fmt: skip
    if asked.type not in GPU_USD_PER_HOUR:
        raise bad(".type", f"{asked.type} is a TPU: there are none here.",
                  "Use a GPU, or leave it out.")  # fmt: skip
    if machine.family != "compute":
        raise bad("", "Accelerators go with machine types of Compute Engine, not with "
                  f"{machine.name}.", "Use one such as 'n1-standard-8'.")  # fmt: skip
    if machine.gpus and (asked.type, asked.count) != (machine.gpu_type, machine.gpus):
        raise bad("", f"{machine.name} comes with {machine.gpus} {machine.gpu_type}, not "
                  f"{asked.count} {asked.type}.", "Leave the accelerators out.")  # fmt: skip
    if not machine.gpus and asked.count not in (1, 2, 4, 8):
        raise bad(".count", f"{asked.count} accelerators are not possible.",
                  "Use 1, 2, 4 or 8.")  # fmt: skip
    return asked.count, asked.type


def _compute() -> Iterator[MachineType]:
    for family, (cpu_usd, gib_usd, shapes) in _FAMILIES.items():
        for shape, (gib_per_cpu, sizes) in shapes.items():
            for cpus in sizes:
                gib = cpus * gib_per_cpu
                yield MachineType(
                    name=f"{family}-{shape}-{cpus}", cpus=cpus, memory_bytes=int(gib * GIB),
                    usd_per_hour=round(cpus * cpu_usd + gib * gib_usd, 4),
                )  # fmt: skip
    cpu_usd, gib_usd, _shapes = _FAMILIES["n1"]
    for name, (cpus, size, gpus) in _A2.items():
        usd = cpus * cpu_usd + size * gib_usd + gpus * GPU_USD_PER_HOUR["NVIDIA_TESLA_A100"]
        yield MachineType(
            name=name, cpus=cpus, memory_bytes=size * GIB, gpus=gpus, gpu_type="NVIDIA_TESLA_A100",
            usd_per_hour=round(usd, 4),
        )  # fmt: skip


def _table() -> dict[str, MachineType]:
    table = {machine.name: machine for machine in _compute()}
    for name, (equivalent, gpus, gpu_type) in _LEGACY.items():
        same = table[equivalent]
        usd = same.usd_per_hour + gpus * GPU_USD_PER_HOUR.get(gpu_type, 0.0)
        table[name] = msgspec.structs.replace(
            same, name=name, gpus=gpus, gpu_type=gpu_type, usd_per_hour=round(usd, 4),
            family="legacy",
        )  # fmt: skip
    return table


MACHINE_TYPES = MappingProxyType(_table())
"""Every machine type that a job may name."""
