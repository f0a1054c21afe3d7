"""What this machine has: CPUs, memory and GPUs, and which GPUs are for jobs, which for versions.

The least of what the hardware has and what somebody allows this process: a container's quota
(cgroup v2 or v1) and its affinity count, not the processors that the kernel sees. `probe` looks,
`Inventory` is the plain answer; nothing here knows jobs.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from mlengine.core.errors import FailedPrecondition

__all__ = ["Inventory", "probe", "share_out", "visible"]

_NVIDIA_SMI_S = 20.0
_LISTED_GPU = re.compile(r"GPU (?P<number>\d+):(?:.*\(UUID: (?P<uuid>GPU-[^)\s]+)\))?")
_PART = "MIG-"
_NAMED = ("GPU-", _PART)  # by UUID: a GPU, or a part of one
# An empty value would do, but some programs take that for "not set".
_NO_GPU = "-1"
_NO_LIMIT_BYTES = 1 << 60  # cgroup v1 says "no limit" with a huge number


class Inventory(msgspec.Struct, frozen=True):
    """What jobs may use together.

    Attributes:
        cpus: Processors' worth of time; a quota may leave a fraction.
        memory_bytes: Main memory.
        gpus: Ids of the GPUs, as ``CUDA_VISIBLE_DEVICES`` wants them.
    """

    cpus: float
    memory_bytes: int
    gpus: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it for people.

        Example:
            >>> str(Inventory(cpus=2.0, memory_bytes=8 << 30))
            '2 CPUs, 8.0 GiB of memory and no GPU'
        """
        gpus = f"{len(self.gpus)} GPU{'s' * (len(self.gpus) > 1)}" if self.gpus else "no GPU"
        cpus = f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}"
        return f"{cpus}, {self.memory_bytes / (1 << 30):.1f} GiB of memory and {gpus}"


def probe(
    environ: Mapping[str, str] = os.environ, *, gpus: str = "", root: Path = Path("/")
) -> Inventory:
    """Look at the machine.

    Args:
        environ: An outer ``CUDA_VISIBLE_DEVICES`` in it is honoured.
        gpus: The setting: ids separated by commas, for who knows better than the driver; ``none``
            is no GPU.
        root: Where ``/proc`` and ``/sys`` are, for tests.

    Raises:
        FailedPrecondition: `gpus` has what is no id of a GPU.
    """
    cpus = float(len(os.sched_getaffinity(0)))
    memory = _total_memory(root)
    for quota_cpus, limit in _cgroup_limits(root):
        cpus, memory = min(cpus, quota_cpus), min(memory, limit)
    found = _ids(gpus, "gpus") if gpus else _visible(list(_gpus(root)), environ)
    return Inventory(max(cpus, 0.01), int(memory), tuple(found))


def share_out(
    found: Inventory, *, jobs: str, versions: str, root: Path = Path("/")
) -> tuple[Inventory, tuple[str, ...]]:
    """Return what is left for jobs, and the ids of the GPUs that versions may have.

    A GPU is the same by its number and by its UUID. Where no driver says which are there, the
    settings are believed, as long as they name GPUs in one way.

    Args:
        found: What `probe` found, or took from `jobs`.
        jobs: The setting ``gpus``.
        versions: The setting ``serving_gpus``; those of `found` that it names are no job's.
        root: As for `probe`.

    Raises:
        FailedPrecondition: There is no such GPU here, it is a part of one, or the settings give one
            to both.

    Example:
        >>> share_out(Inventory(8.0, 1 << 35, ("0", "1")), jobs="", versions="1")
        (Inventory(cpus=8.0, memory_bytes=34359738368, gpus=('0',)), ('1',))
    """
    wanted = tuple(_ids(versions, "serving_gpus"))
    if not wanted:
        return found, ()
    if parts := [gpu for gpu in (*wanted, *found.gpus) if gpu.startswith(_PART)]:
        raise FailedPrecondition(
            f"'{parts[0]}' is a part of a GPU: beside serving_gpus, parts cannot be told apart.",
            "Name whole GPUs in the settings gpus and serving_gpus.",
        )
    driver = _gpus(root)
    own = {_number(gpu, driver): gpu for gpu in found.gpus}
    there = list(driver) if jobs and driver else None if jobs else list(own)
    for gpu in wanted:
        if there is not None and _number(gpu, driver) not in there:
            raise FailedPrecondition(
                f"The setting serving_gpus names the GPU '{gpu}'; "
                + (f"those of this machine are {', '.join(there)}." if there else
                   "this machine has none."),
                "Name GPUs as nvidia-smi -L numbers them, or remove the setting with "
                "'mlengine config unset serving_gpus'.",
            )  # fmt: skip
        if jobs and _number(gpu, driver) in own:
            raise FailedPrecondition(
                f"The GPU '{gpu}' stands in the settings gpus and serving_gpus.",
                "A GPU is for jobs or for versions: take it out of one of them.",
            )
    if not driver and len({gpu.isdecimal() for gpu in (*wanted, *found.gpus)}) > 1:
        raise FailedPrecondition(
            f"The settings gpus and serving_gpus name GPUs by number and by UUID ({wanted[0]}), "
            "and no driver says which are the same.", "Write numbers in both.",
        )  # fmt: skip
    given = {_number(gpu, driver): gpu for gpu in wanted}
    left = tuple(gpu for number, gpu in own.items() if number not in given)
    return msgspec.structs.replace(found, gpus=left), tuple(given.values())


def _number(gpu: str, driver: Mapping[str, str]) -> str:
    """Return a GPU's number if its driver tells it; CUDA takes the beginning of a UUID for it."""
    numbers = [number for number, uuid in driver.items() if uuid and uuid.startswith(gpu)]
    return numbers[0] if len(numbers) == 1 else gpu


def _ids(text: str, setting: str) -> list[str]:
    """Return the ids that a setting names.

    Raises:
        FailedPrecondition: One of its words is none.
    """
    words = _listed(text)
    for word in words:
        if not word.isdecimal() and not word.startswith(_NAMED):
            raise FailedPrecondition(
                f"The setting {setting} is {text!r}, and {word!r} is no id of a GPU.",
                "Write numbers as nvidia-smi -L shows them, separated by commas, or none.",
            )
    return words


def visible(gpus: Sequence[str]) -> dict[str, str]:
    """Return the variables of a process that may have these GPUs and sees no others.

    CUDA would count the fastest first; numbers here are those of ``nvidia-smi``.

    Example:
        >>> visible(["0", "2"])
        {'CUDA_VISIBLE_DEVICES': '0,2', 'CUDA_DEVICE_ORDER': 'PCI_BUS_ID'}
    """
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(gpus) or _NO_GPU,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def _listed(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    return [] if words == ["none"] else list(dict.fromkeys(word for word in words if word))


def _visible(found: list[str], environ: Mapping[str, str]) -> list[str]:
    """Keep what the variable allows; like CUDA, stop at the first id that is none."""
    allowed = environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None or not found:
        return found
    kept = []
    for word in _listed(allowed):
        is_index = word.isdecimal() and int(word) < len(found)
        if not is_index and not word.startswith(_NAMED):
            break
        kept.append(word)
    return kept


def _gpus(root: Path) -> dict[str, str]:
    """Return the UUID of each GPU by its number, as the driver knows them; it may be unknown."""
    driver = root / "proc/driver/nvidia/gpus"
    try:
        folders = sorted(driver.iterdir())
    except OSError:
        folders = []
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_NVIDIA_SMI_S, check=True
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {str(index): "" for index in range(len(folders))}
    rows = [_LISTED_GPU.match(row) for row in done.stdout.splitlines()]
    return {row["number"]: row["uuid"] or "" for row in rows if row}


def _total_memory(root: Path) -> float:
    try:
        for row in (root / "proc/meminfo").read_text().splitlines():
            if row.startswith("MemTotal:"):
                return float(row.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _cgroup_limits(root: Path) -> Iterator[tuple[float, float]]:
    """Return (CPUs, bytes) of every control group above this process, infinite where unlimited."""
    try:
        rows = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for row in rows:
        _number, _, rest = row.partition(":")
        controllers, _, path = rest.partition(":")
        for folder in _upwards(root / "sys/fs/cgroup", controllers, path):
            yield _cpus_of(folder), _memory_of(folder)


def _upwards(mount: Path, controllers: str, path: str) -> Iterator[Path]:
    """Return a group's folder and those above it: a limit holds for all below."""
    if controllers:  # v1 mounts each controller by its name; in a container the path may be a lie
        mount = mount / controllers.removeprefix("name=")
    elif (mount / "unified").is_dir():  # v2 beside v1
        mount = mount / "unified"
    folder = mount / path.lstrip("/")
    while folder != mount:
        yield folder
        folder = folder.parent
    yield mount


def _cpus_of(folder: Path) -> float:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        share = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
    return share if share > 0 else math.inf


def _memory_of(folder: Path) -> float:
    for name in ("memory.max", "memory.limit_in_bytes"):
        try:
            limit = float((folder / name).read_text())
        except (OSError, ValueError):  # no such group, or "max"
            continue
        return limit if 0 < limit < _NO_LIMIT_BYTES else math.inf
    return math.inf
