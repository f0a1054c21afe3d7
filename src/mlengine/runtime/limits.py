"""Holds one replica, with all its children, to its CPUs, memory, processes and open files.

By a control group of its own: version 2 where this process may make groups there, else version 1.
A model's worker is held in the same way, see `confine`.

CPUs and memory are for jobs that insist on what they asked for (``options.strictResources``):
others may use the whole machine. Where there are no groups such a replica runs without limits and
its log says so: an address space limit (``RLIMIT_AS``) would be no substitute, for TensorFlow
reserves far more than it uses.

Processes, threads among them, are counted for every replica, so that a fork bomb takes none but
its own job. Where there are no groups ``RLIMIT_NPROC`` stands in: it counts all of the user, so
what the user has already is added, and it does not bind root. Open files are counted for each
process alone, and always by an rlimit.

The supervisor makes the group, the child enters it before it becomes the replica, and the group is
removed when nothing of it is left, by the supervisor or by who sweeps after a dead one.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlengine.runtime.controlgroups import (
    group_of,
    is_version_2,
    places,
    put_to_work,
    remove_group,
    write,
)

__all__ = ["Limits"]

_PERIOD_US = 100000
_MOST_FILES = 65536
_FILES_OF_CONFINED = 4096
_LEAST_PROCESSES = 4096  # libraries start many threads for each CPU, data loaders on top of it
_PROCESSES_PER_CPU = 256
_WEIGHTS = {"cpu.weight": 100, "cpu.shares": 1024}  # of a group; version 2, version 1
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Limits:
    """The limits of one replica.

    Args:
        cpus: Most CPUs' worth of time; 0 is no limit.
        memory_bytes: Most memory of all its processes together; 0 is no limit.
        processes: Most processes and threads at one time; 0 is what this machine bears well.
        apart: Whether all that it runs counts as one when the CPUs are shared out, however many
            processes that are.
    """

    def __init__(
        self, cpus: float, memory_bytes: int, processes: int = 0, *, apart: bool = False
    ) -> None:
        self._cpus = cpus
        self._apart = apart
        self.memory_bytes = memory_bytes
        self.processes = processes or _processes_borne()
        self._folders: list[Path] = []
        self._insisted: set[Path] = set()
        self._oom_file: Path | None = None
        self._pids_file: Path | None = None
        self._rlimits: dict[int, int] = {}
        self._cpu_folder: Path | None = None

    def make(self, tag: str, task: str) -> str:
        """Make the groups; return why there is no, or not every, limit: empty if all is well.

        Args:
            tag: The attempt's tag, by which `remove_groups` finds them.
            task: The replica's name.
        """
        if self._folders:
            return ""
        name = group_of(tag) + "." + re.sub(r"[^\w-]", "_", task)
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
        if self._apart:
            with contextlib.suppress(OSError):
                self._cpu_folder = self._folder("cpu", name)
        self._insisted = set(self._folders)
        self._rlimits = {resource.RLIMIT_NOFILE: _MOST_FILES}
        try:
            self._limit_processes(name)
        except OSError:
            self._rlimits[resource.RLIMIT_NPROC] = _tasks_of_user() + self.processes
        return "; ".join(problems)

    def enter(self) -> None:
        """Put this process under the limits; for the child, before it becomes the replica."""
        for folder in self._folders:
            try:
                write(folder / "cgroup.procs", "0")
            except OSError:
                if folder in self._insisted:
                    raise
                if self._pids_file and folder == self._pids_file.parent:
                    self._rlimits[resource.RLIMIT_NPROC] = _tasks_of_user() + self.processes
        for kind, most in self._rlimits.items():
            hard = resource.getrlimit(kind)[1]
            if hard != resource.RLIM_INFINITY:
                most = min(most, hard)
            resource.setrlimit(kind, (most, most))

    def plan(self) -> dict[str, Any]:
        """Return the groups to enter, and the limits that stand in for missing ones, for `confine`.

        Memory is counted by process then, by what each has reserved to write to. ``gaps`` says so.
        """
        limits, gaps = {"files": _FILES_OF_CONFINED}, []
        if self.memory_bytes and not self._oom_file:
            limits["memory_bytes"] = self.memory_bytes
            gaps.append("each of its processes may hold as much memory as all should together "
                        "(there is no control group for memory)")  # fmt: skip
        if not self._pids_file:
            limits["processes"] = self._rlimits.get(resource.RLIMIT_NPROC, self.processes)
            whose = "root's are not limited" if os.geteuid() == 0 else "with all of its user's"
            gaps.append(f"its processes are not counted apart, {whose} "
                        "(there is no control group for them)")  # fmt: skip
        groups = [str(folder) for folder in self._folders]
        return {"groups": groups, "limits": limits, "gaps": gaps}

    @property
    def holds_memory(self) -> bool:
        """Whether a group holds the memory of all its processes together."""
        return self._oom_file is not None

    def members(self) -> list[int]:
        """Return the process ids of all that are in its groups."""
        found: set[int] = set()
        for folder in self._folders:
            with contextlib.suppress(OSError, ValueError):
                found.update(map(int, (folder / "cgroup.procs").read_text().split()))
        return sorted(found)

    def weigh(self, share: float) -> bool:
        """Have all that it runs count for so much of another one when the CPUs are shared out.

        Returns:
            Whether it does: not where it does not count as one, or nobody may say so.
        """
        if self._cpu_folder is None:
            return False
        for name, whole in _WEIGHTS.items():
            try:
                write(self._cpu_folder / name, str(max(int(whole * share), 1)))
            except OSError:
                continue
            return True
        return False

    def used_s(self) -> float | None:
        """Return the CPU seconds that all in its group for CPUs have used; None without one.

        Where the group itself does not count (version 1), those of processes that ended unseen are
        missing.
        """
        if self._cpu_folder is None:
            return None
        try:
            for row in (self._cpu_folder / "cpu.stat").read_text().splitlines():
                if row.startswith("usage_usec "):
                    return int(row.split()[1]) / 1e6
            pids = (self._cpu_folder / "cgroup.procs").read_text().split()
        except (OSError, ValueError):
            return None
        return sum(map(_used_s, pids))

    def oom_killed(self) -> bool:
        """Tell whether the kernel killed a process of the replica because of the limit."""
        if self._oom_file is None:
            return False
        try:
            rows = self._oom_file.read_text().splitlines()
        except OSError:
            return False
        return any(row.startswith("oom_kill ") and int(row.split()[1]) > 0 for row in rows)

    def processes_refused(self) -> bool:
        """Tell whether it asked for more processes or threads than it may have."""
        try:
            rows = self._pids_file.read_text().splitlines() if self._pids_file else []
        except OSError:
            return False
        return any(row.startswith("max ") and int(row.split()[1]) > 0 for row in rows)

    def close(self) -> None:
        """Remove the groups, once no process is in them."""
        for folder in self._folders:
            remove_group(folder)
        self._folders, self._cpu_folder = [], None

    def _limit_memory(self, name: str) -> None:
        folder = self._folder("memory", name)
        if (folder / "memory.max").exists():
            write(folder / "memory.max", str(self.memory_bytes))
            self._oom_file = folder / "memory.events"
            return
        write(folder / "memory.limit_in_bytes", str(self.memory_bytes))
        self._oom_file = folder / "memory.oom_control"
        swap = folder / "memory.memsw.limit_in_bytes"
        if swap.exists():  # memory and swap together: a limit that swaps is none
            write(swap, str(self.memory_bytes))

    def _limit_cpus(self, name: str) -> None:
        folder = self._folder("cpu", name)
        quota = str(max(int(self._cpus * _PERIOD_US), 1000))
        if (folder / "cpu.max").exists():
            write(folder / "cpu.max", f"{quota} {_PERIOD_US}")
            return
        write(folder / "cpu.cfs_period_us", str(_PERIOD_US))
        write(folder / "cpu.cfs_quota_us", quota)

    def _limit_processes(self, name: str) -> None:
        folder = self._folder("pids", name)
        write(folder / "pids.max", str(self.processes))
        self._pids_file = folder / "pids.events"

    def _folder(self, controller: str, name: str) -> Path:
        """Make a group in which a controller is at work, as near to this process's as may be."""
        first: OSError | None = None
        # Of version 2 it can be in one group only: what follows is added to the one there is.
        only = [folder.parent for folder in self._folders if is_version_2(folder.parent)]
        for parent in places(controller):
            if is_version_2(parent) and only and parent not in only:
                continue
            try:
                put_to_work(controller, parent)
                folder = parent / name
                folder.mkdir(mode=0o755, exist_ok=True)
            except OSError as error:
                first = first or error
                continue
            if folder not in self._folders:
                self._folders.append(folder)
            return folder
        raise first or FileNotFoundError(2, "there is no control group for it")


def _processes_borne() -> int:
    """Return how many processes a replica may have, and leave room for others."""
    wanted = max(_LEAST_PROCESSES, _PROCESSES_PER_CPU * (os.cpu_count() or 1))
    try:
        return min(wanted, int(Path("/proc/sys/kernel/pid_max").read_text()) // 4)
    except (OSError, ValueError):
        return wanted


def _used_s(pid: str) -> float:
    """Return the CPU seconds of a process and of those children of its that it has buried."""
    try:
        raw = Path("/proc", pid, "stat").read_bytes()
        fields = raw[raw.rindex(b")") + 2 :].split()
        return sum(map(int, fields[11:15])) / _TICKS_PER_S
    except (OSError, ValueError):
        return 0.0


def _tasks_of_user() -> int:
    """Count the processes and threads of this user."""
    found, me = 0, os.getuid()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == me:
                    found += len(os.listdir(entry.path + "/task"))  # noqa: PTH208
            except OSError:  # it has ended meanwhile
                continue
    return found
