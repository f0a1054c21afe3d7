"""Which processes belong to an attempt, and signals that never reach a stranger.

A pid alone names nobody: the kernel hands it out again. Here a process is its pid *and* its start
time (and, across restarts of the machine, the boot id); a signal goes through a pidfd that was
opened before the start time was compared, so there is no moment in which the pid can change hands.

Who works in a folder is noted there, with the folder's device and inode: these stay when it is
moved on its disk. A copy, such as a backup that got an engine of its own, has others, and so has a
folder that was moved to another disk; of these two the copy is the one whose original still lies
where the note was written. What a copied note names is the original's, and left alone.

Standard library only, Python >= 3.7, Linux.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "TAG_VARIABLE",
    "Process",
    "boot_id",
    "descendants",
    "freeze_and_kill",
    "is_of",
    "living",
    "look",
    "note",
    "noted",
    "of_attempt",
    "send",
    "snapshot",
]

TAG_VARIABLE = "MLENGINE_ATTEMPT_TAG"
"""Every process of an attempt inherits this variable; its value is unique to the attempt."""

_PROC = Path("/proc")
_FREEZE_ROUNDS = 50


class Process(NamedTuple):
    """One row of ``/proc``; `started` is in clock ticks since boot."""

    pid: int
    started: int
    parent: int
    group: int
    session: int
    state: str

    @property
    def alive(self) -> bool:
        """Whether it can still do something: a zombie cannot."""
        return self.state not in "ZXx"


def boot_id() -> str:
    """Return the id of this boot of the machine; start times compare within one boot only."""
    return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()


def look(pid: int) -> Process | None:
    """Return the process that has this pid now, or None."""
    try:
        raw = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The command's name stands in parentheses and may itself hold spaces and parentheses.
    fields = raw[raw.rindex(b")") + 2 :].split()
    return Process(
        pid=pid,
        started=int(fields[19]),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        state=fields[0].decode("ascii"),
    )


def note(pid: int, place: int | Path) -> dict[str, Any]:
    """Return what is to be written down of a process that works in a folder, or holds a file.

    Args:
        pid: The process; if it is gone already, nobody is found by the note.
        place: The folder or file, or its descriptor; as it is when the note is looked at.
    """
    row, at = look(pid), os.stat(place)  # noqa: PTH116 - a descriptor, too
    named = f"/proc/self/fd/{place}" if isinstance(place, int) else place
    return {
        "pid": pid, "started": row.started if row else 0, "boot_id": boot_id(),
        "device": at.st_dev, "inode": at.st_ino, "place": os.path.realpath(str(named)),
    }  # fmt: skip


def is_of(place: Path, facts: Mapping[str, Any]) -> bool:
    """Return whether a note is of this place and since the last boot: a copy has one, too."""
    noted_boot = facts.get("boot_id")  # none: nobody was noted, nor is there /proc on a Mac
    if not noted_boot or noted_boot != boot_id():
        return False
    its, noted_at = (facts.get("device"), facts.get("inode")), facts.get("place")
    try:
        here = _file_at(place)
        if here == its:
            return True
        # Moved to another disk, unless the original still lies where it was: then this is a copy.
        return bool(here and noted_at) and _file_at(Path(str(noted_at))) != its
    except OSError:
        return False  # the original may be where we cannot look


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        at = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return at.st_dev, at.st_ino


def noted(facts: Mapping[str, Any], place: Path) -> Process | None:
    """Return the live process of a note; None if it is gone, or another place's."""
    return living(facts["pid"], facts["started"]) if is_of(place, facts) else None


def living(pid: int, started: int) -> Process | None:
    """Return the process if it lives; None when its pid is free, or another's by now."""
    row = look(pid)
    return row if row is not None and row.alive and row.started == started else None


def snapshot() -> dict[int, Process]:
    """Return all processes by pid."""
    rows = {}
    for name in os.listdir(str(_PROC)):  # noqa: PTH208 - listdir is several times faster, and this is hot
        if name.isdigit():
            row = look(int(name))
            if row is not None:
                rows[row.pid] = row
    return rows


def descendants(ancestors: Iterable[int], among: Mapping[int, Process]) -> list[Process]:
    """Return all live processes below the given pids, the pids themselves left out."""
    children: dict[int, list[Process]] = {}
    for row in among.values():
        children.setdefault(row.parent, []).append(row)
    found: list[Process] = []
    queue = list(ancestors)
    seen = set(queue)
    while queue:
        for row in children.get(queue.pop(), ()):
            if row.pid not in seen:
                seen.add(row.pid)
                queue.append(row.pid)
                if row.alive:
                    found.append(row)
    return found


def of_attempt(tag: str, leaders: Mapping[int, int]) -> list[Process]:
    """Return every live process of an attempt whose supervisor is gone.

    Args:
        tag: The attempt's tag, as its processes have it in their environment.
        leaders: Pid → start time of the replicas that were started; they lead their sessions.
    """
    rows = snapshot()
    mine = {pid for pid in rows if _has_tag(pid, tag)}
    for pid, started in leaders.items():
        holder = rows.get(pid)
        if holder is not None and holder.started != started:
            continue  # the pid was handed out again: that session is somebody else's
        mine.update(r.pid for r in rows.values() if r.session == pid and r.started >= started)
    mine.update(row.pid for row in descendants(mine, rows))
    mine.discard(os.getpid())
    return [rows[pid] for pid in mine if rows[pid].alive]


def send(process: Process, signum: int) -> bool:
    """Signal exactly this process; return False when it is gone.

    A process of another user cannot be signalled; that too answers False.
    """
    if not hasattr(os, "pidfd_open"):  # Python < 3.9: a moment of risk is left
        return _is_same(process) and _kill(process.pid, signum)
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        if not _is_same(process):
            return False
        signal.pidfd_send_signal(descriptor, signum)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def freeze_and_kill(find: Callable[[], list[Process]]) -> list[Process]:
    """Kill all that `find` returns, also what they fork meanwhile; return whom it met.

    A process that forks faster than it can be looked up escapes a plain kill; so all are frozen
    until no new one appears, then killed. Call it again until it returns nothing.
    """
    met: dict[tuple[int, int], Process] = {}
    for _round in range(_FREEZE_ROUNDS):
        fresh = [row for row in find() if (row.pid, row.started) not in met]
        if not fresh:
            break
        for row in fresh:
            met[row.pid, row.started] = row
            send(row, signal.SIGSTOP)
    for row in met.values():
        send(row, signal.SIGKILL)
    return list(met.values())


def _is_same(process: Process) -> bool:
    now = look(process.pid)
    return now is not None and now.started == process.started


def _kill(pid: int, signum: int) -> bool:
    try:
        os.kill(pid, signum)
    except OSError:
        return False
    return True


def _has_tag(pid: int, tag: str) -> bool:
    wanted = f"{TAG_VARIABLE}={tag}".encode()
    with contextlib.suppress(OSError):
        return wanted in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    return False
