"""What this machine has for jobs: CPUs, memory and GPUs.

The least of what the hardware has and what somebody allows this process: a container's quota
(cgroup v2 or v1) and its affinity count, not the processors that the kernel sees. `probe` looks,
`Inventory` is the plain answer; nothing here knows jobs.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

__all__ = ["Inventory", "probe"]

_NVIDIA_SMI_S = 20.0
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
        gpus: Ids separated by commas, for who knows better than the driver; ``none`` is no GPU.
        root: Where ``/proc`` and ``/sys`` are, for tests.
    """
    cpus = float(len(os.sched_getaffinity(0)))
    memory = _total_memory(root)
    for quota_cpus, limit in _cgroup_limits(root):
        cpus, memory = min(cpus, quota_cpus), min(memory, limit)
    found = _listed(gpus) if gpus else _visible(_gpus(root), environ)
    return Inventory(max(cpus, 0.01), int(memory), tuple(found))


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
        if not is_index and not word.startswith(("GPU-", "MIG-")):
            break
        kept.append(word)
    return kept


def _gpus(root: Path) -> list[str]:
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
        return [str(index) for index in range(len(folders))]
    rows = [row for row in done.stdout.splitlines() if row.startswith("GPU ")]
    return [row.split(":")[0].removeprefix("GPU ").strip() for row in rows]


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
