"""Finds, makes and removes control groups: version 2 where this process may make groups, else 1.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

__all__ = [
    "group_of", "is_version_2", "own_group", "places", "put_to_work", "remove_group",
    "remove_groups", "sweep_groups", "write",
]  # fmt: skip

_MOUNT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_NAME = "mlengine-"
_FORGOTTEN_S = 3600.0  # who makes a group enters it within seconds


def remove_groups(tag: str) -> None:
    """Remove the groups of an attempt whose supervisor is gone, once its processes are."""
    for folder in _groups(group_of(tag) + ".*"):
        remove_group(folder)


def sweep_groups(begin: str) -> None:
    """Remove the groups that nobody comes back for: no process is in them, and none came lately.

    Args:
        begin: How the tags begin; groups of any engine on this machine are meant.
    """
    for folder in _groups(group_of(begin) + "*.*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _FORGOTTEN_S:
                remove_group(folder)


def _groups(pattern: str) -> list[Path]:
    found: list[Path] = []
    for controller in ("memory", "cpu", "pids"):
        with contextlib.suppress(OSError):
            for place in places(controller):
                found += place.glob(pattern)
    return found


def group_of(tag: str) -> str:
    """Return how the names of the groups of an attempt, or of a worker, begin."""
    return _NAME + re.sub(r"[^\w-]", "_", tag)


def own_group(controller: str) -> Path:
    """Return the group of this process: of version 1 the one that a controller looks after.

    Raises:
        FileNotFoundError: There are no control groups here.
    """
    unified = ""
    for row in _OWN.read_text().splitlines():
        _number, controllers, path = row.split(":", 2)
        if controller in controllers.split(","):
            folder = _MOUNT / controllers / path.lstrip("/")
            # In a container the path may be the host's, while the mount shows the own group.
            return folder if folder.is_dir() else _MOUNT / controllers
        unified = path if not controllers else unified
    folder = _MOUNT / unified.lstrip("/")
    if not (folder / "cgroup.controllers").exists():
        folder = _MOUNT
    if not (folder / "cgroup.controllers").exists():
        raise FileNotFoundError(2, "there are no control groups")
    return folder


def places(controller: str) -> list[Path]:
    """Return where groups may be made: in the own one; of version 2, in those around it.

    This process is in its own group, and below a group of version 2 that holds processes no group
    with limits can be entered (only the root of all is free of that rule, and only that has no
    ``cgroup.type``). One above it is free of processes, and serves where a service manager gave it
    away: to a user or a service (``Delegate=``, ``DelegateSubgroup=``). Others are not this
    engine's: a replica in them would leave the limits of the engine's own service.

    Raises:
        FileNotFoundError: There are no control groups here, or not this controller.
    """
    own = own_group(controller)
    if not is_version_2(own):
        return [own]
    if (own / "cgroup.type").exists():
        found = [above for above in own.parents
                 if _MOUNT in (above, *above.parents) and _is_given_away(above)]  # fmt: skip
    else:
        found = [own]
    usable = [place for place in found if _names(place / "cgroup.controllers", controller)]
    if not usable:
        raise FileNotFoundError(2, "there is no control group for it")
    return usable


def _is_given_away(group: Path) -> bool:
    """Tell whether the service manager left a group to this user; root may write to all others."""
    if os.geteuid() != 0:
        return os.access(str(group), os.W_OK)
    for name in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(str(group), name) == b"1":
                return True
        except OSError:  # no such attribute
            continue
    return False


def is_version_2(group: Path) -> bool:
    """Tell whether a group is of version 2."""
    return (group / "cgroup.subtree_control").exists()


def put_to_work(controller: str, parent: Path) -> None:
    """Have a group of version 2 hand a controller down, unless it does already."""
    handed_down = parent / "cgroup.subtree_control"
    if is_version_2(parent) and not _names(handed_down, controller):
        write(handed_down, "+" + controller)


def _names(path: Path, controller: str) -> bool:
    try:
        return controller in path.read_text().split()
    except OSError:
        return False


def write(path: Path, text: str) -> None:
    """Write to a file of a group; makes none.

    Raises:
        OSError: There is no such file, or the kernel refuses.
    """
    descriptor = os.open(str(path), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)


def remove_group(folder: Path) -> None:
    """Remove a group, unless somebody is in it."""
    try:
        folder.rmdir()
    except OSError:  # somebody is in it yet; who sweeps comes again
        pass
