"""Holds one replica, with all its children, to its CPUs and memory by a control group of its own.

Only for jobs that insist on what they asked for (``options.strictResources``): others may use the
whole machine. Version 2 of control groups is used where this process may make groups there, else
version 1. Where neither can be had the replica runs without limits and its log says so: an address
space limit (``RLIMIT_AS``) would be no substitute, for TensorFlow reserves far more than it uses,
and a limit on processes counts all processes of the user.

The supervisor makes the group, the child enters it before it becomes the replica, and the group is
removed when nothing of it is left, by the supervisor or by who sweeps after a dead one.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

__all__ = ["Limits", "remove_groups"]

_MOUNT = Path("/sys/fs/cgroup")
_PERIOD_US = 100000
_NAME = "mlengine-"


class Limits:
    """The limits of one replica.

    Args:
        cpus: Most CPUs' worth of time; 0 is no limit.
        memory_bytes: Most memory of all its processes together; 0 is no limit.
    """

    def __init__(self, cpus: float, memory_bytes: int) -> None:
        self._cpus = cpus
        self.memory_bytes = memory_bytes
        self._folders: list[Path] = []
        self._oom_file: Path | None = None

    def make(self, tag: str, task: str) -> str:
        """Make the groups; return why there is no, or not every, limit: empty if all is well.

        Args:
            tag: The attempt's tag, by which `remove_groups` finds them.
            task: The replica's name.
        """
        if self._folders:
            return ""
        name = _group_of(tag) + "." + re.sub(r"[^\w-]", "_", task)
        problems = []
        steps: list[tuple[float, str, Callable[[str], None]]] = [
            (self.memory_bytes, "memory", self._limit_memory), (self._cpus, "cpu", self._limit_cpus)
        ]  # fmt: skip
        for wanted, controller, limit in steps:
            if not wanted:
                continue
            try:
                limit(name)
            except OSError as error:
                reason = error.strerror or str(error)
                problems.append(f"its {controller} is not limited: {reason}")
        return "; ".join(problems)

    def enter(self) -> None:
        """Put this process into the groups; for the child, before it becomes the replica."""
        for folder in self._folders:
            _write(folder / "cgroup.procs", "0")

    def oom_killed(self) -> bool:
        """Tell whether the kernel killed a process of the replica because of the limit."""
        if self._oom_file is None:
            return False
        try:
            rows = self._oom_file.read_text().splitlines()
        except OSError:
            return False
        return any(row.startswith("oom_kill ") and int(row.split()[1]) > 0 for row in rows)

    def close(self) -> None:
        """Remove the groups, once no process is in them."""
        for folder in self._folders:
            _remove(folder)
        self._folders = []

    def _limit_memory(self, name: str) -> None:
        folder = self._folder("memory", name)
        if (folder / "memory.max").exists():
            self._oom_file = folder / "memory.events"
            _write(folder / "memory.max", str(self.memory_bytes))
            return
        self._oom_file = folder / "memory.oom_control"
        _write(folder / "memory.limit_in_bytes", str(self.memory_bytes))
        swap = folder / "memory.memsw.limit_in_bytes"
        if swap.exists():  # memory and swap together: a limit that swaps is none
            _write(swap, str(self.memory_bytes))

    def _limit_cpus(self, name: str) -> None:
        folder = self._folder("cpu", name)
        quota = str(max(int(self._cpus * _PERIOD_US), 1000))
        if (folder / "cpu.max").exists():
            _write(folder / "cpu.max", f"{quota} {_PERIOD_US}")
            return
        _write(folder / "cpu.cfs_period_us", str(_PERIOD_US))
        _write(folder / "cpu.cfs_quota_us", quota)

    def _folder(self, controller: str, name: str) -> Path:
        """Make a group in which a controller is at work."""
        parent = _own_group(controller)
        if (parent / "cgroup.subtree_control").exists():
            at_work = (parent / "cgroup.subtree_control").read_text().split()
            if controller not in at_work:
                _write(parent / "cgroup.subtree_control", "+" + controller)
        folder = parent / name
        folder.mkdir(mode=0o755, exist_ok=True)
        if folder not in self._folders:
            self._folders.append(folder)
        return folder


def remove_groups(tag: str) -> None:
    """Remove the groups of an attempt whose supervisor is gone, once its processes are."""
    for controller in ("memory", "cpu"):
        try:
            found = list(_own_group(controller).glob(_group_of(tag) + ".*"))
        except OSError:
            continue
        for folder in found:
            _remove(folder)


def _group_of(tag: str) -> str:
    return _NAME + re.sub(r"[^\w-]", "_", tag)


def _own_group(controller: str) -> Path:
    """Return the group of this process that a controller looks after.

    Raises:
        FileNotFoundError: There are no control groups here, or not this controller.
    """
    unified = ""
    for row in Path("/proc/self/cgroup").read_text().splitlines():
        _number, controllers, path = row.split(":", 2)
        if controller in controllers.split(","):
            folder = _MOUNT / controllers / path.lstrip("/")
            # In a container the path may be the host's, while the mount shows the own group.
            return folder if folder.is_dir() else _MOUNT / controllers
        unified = path if not controllers else unified
    folder = _MOUNT / unified.lstrip("/")
    if not (folder / "cgroup.controllers").exists():
        folder = _MOUNT
    if controller not in (folder / "cgroup.controllers").read_text().split():
        raise FileNotFoundError(2, "there is no control group for it")
    return folder


def _write(path: Path, text: str) -> None:
    descriptor = os.open(str(path), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # somebody is in it yet; who sweeps comes again
        pass
