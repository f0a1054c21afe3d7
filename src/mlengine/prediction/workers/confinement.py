"""What a worker may reach: made from its specification, carried out by `runtime.confine`.

    read    the model, its interpreter and libraries, this package, the system's libraries
    write   ``own``, a folder that is made anew for each start; nothing else of the home
    no      network, unless the version asks; Unix sockets; signals to others; root's privileges

A worker opens no socket: the one that it listens on is bound for it. A confined folder that others
look into is looked into with care, see `workerfolder`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import site
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlengine
from mlengine.runtime.limits import Limits
from mlengine.runtime.manifest import manifest_of

__all__ = ["ANY_GROUP", "MOST_FILE_BYTES", "group_tag", "limits_of", "plan_of"]

ANY_GROUP = "worker-"
"""How the tags of all workers' groups begin."""

MOST_FILE_BYTES = 1 << 30
"""Largest file that a worker may write, its log included."""

_LEAST_PROCESSES, _PROCESSES_PER_CPU = 256, 64
_DEV = Path("/dev")
_GPU_DEVICES = ("nvidia[0-9]*", "nvidiactl", "nvidia-uvm*", "nvidia-modeset", "nvidia-caps/*",
                "dxg")  # fmt: skip
_LISTED = ("LD_LIBRARY_PATH", "PYTHONPATH")
_QUOTED = re.compile(r"site\.addsitedir\('([^']+)'\)")


def limits_of(*, memory_bytes: int) -> Limits:
    """Return the control groups and limits of a worker, which are not made yet.

    Args:
        memory_bytes: Most that its processes may hold together; 0 is no limit.
    """
    processes = max(_LEAST_PROCESSES, _PROCESSES_PER_CPU * (os.cpu_count() or 1))
    return Limits(0.0, memory_bytes, processes, apart=True)


def group_tag(folder: Path) -> str:
    """Return the name by which the groups of a worker's folder are found again."""
    return ANY_GROUP + hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]


def plan_of(
    *,
    artifact: str,
    python: str,
    own: Path,
    home: Path,
    limits: Limits,
    network: bool,
    gpus: bool = False,
) -> dict[str, Any]:
    """Return what `confine` takes.

    Args:
        artifact: Folder of the model.
        python: Its interpreter.
        own: The folder that it may write to.
        home: The engine's home: no folder above it is opened to a worker.
        limits: Its groups, made.
        network: Whether it may reach the internet.
        gpus: Whether it may open the devices of NVIDIA's driver: of all GPUs, for the driver asks
            for more of them than those that a process computes on.
    """
    plan = limits.plan()
    plan["limits"]["file_bytes"] = MOST_FILE_BYTES
    return {
        **plan,
        "read": [artifact, str(manifest_of(Path(artifact))), *readable(python, str(home))],
        "write": [str(own)],
        "devices": sorted(_gpu_devices()) if gpus else [],
        "network": network,
    }


def _gpu_devices() -> Iterator[str]:
    """Give the device files of NVIDIA's driver; of Windows' subsystem for Linux, its own."""
    for pattern in _GPU_DEVICES:
        yield from map(str, _DEV.glob(pattern))


@functools.lru_cache(maxsize=256)
def readable(python: str, home: str) -> list[str]:
    """Return the folders that an interpreter imports from; none that holds the engine's home."""
    package = str(Path(mlengine.__file__).parents[1])
    found = [*_prefixes(sys.executable), sys.prefix, sys.base_prefix, package]
    found += site.getsitepackages() if hasattr(site, "getsitepackages") else []
    found += [path for path in sys.path if path and Path(path) != Path.cwd()]
    for name in _LISTED:
        found += os.environ.get(name, "").split(os.pathsep)
    if python != sys.executable:
        found += _prefixes(python)
    apart = os.path.realpath(home)
    return sorted({path for path in found if path and not _holds(path, apart)})


def _prefixes(python: str) -> Iterator[str]:
    """Give the folders of an interpreter: its environment, those that it is made over.

    Of an environment with a version's packages only what the builder noted last is believed: a
    wheel can bring ``.pth`` files, and a ``pyvenv.cfg``, that name any file.
    """
    binary = Path(python)
    if base := _base_of(binary.parents[1]):
        yield str(binary.parents[1])
        yield from _prefixes(str(Path(base, "bin", "python")))
        return
    for place in (binary, binary.resolve()):
        yield str(place.parents[1])
    environment = binary.parents[1]
    try:
        lines = (environment / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    homes = [row.partition("=")[2].strip() for row in lines if row.startswith("home")]
    for folder in homes:
        yield str(Path(folder).resolve().parent)
        yield str(Path(folder).parent)
    for links in environment.glob("lib/python*/site-packages/*.pth"):
        for line in links.read_text(encoding="utf-8", errors="replace").splitlines():
            yield from _QUOTED.findall(line) or ([line] if line.startswith("/") else [])


def _base_of(environment: Path) -> str:
    """Return the prefix that packages were installed over; empty for all but such a layer."""
    try:
        facts = json.loads((environment / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(facts.get("base") or "")


def _holds(path: str, home: str) -> bool:
    return os.path.commonpath([os.path.realpath(path), home]) == os.path.realpath(path)
