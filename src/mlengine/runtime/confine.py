"""Confines a process before it runs what somebody else wrote: a model, a routine, its packages.

    python -I -S -c … CONFINEMENT.json COMMAND…   confines itself, then becomes the command
    confine(plan)                                 in a fork, which has one thread

Layers, each where the machine allows it; the names of those that it does not are returned, and
said in the log:

    control groups    memory, processes and a fair share of the CPUs, by groups that the engine made
    limits            open files, size of a file, no core; memory and processes where no group is
    privileges        none to be had (no_new_privs), those of root given up
    Landlock          files: its own folder to write, its model and libraries to read, no other
    seccomp           no sockets unless the version asks, nothing that reaches into others

The command is executed after that, so that not even what an environment runs at the start of its
interpreter (``.pth`` files) runs before.

Standard library only, Python >= 3.7; on other systems than Linux only the limits.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlengine.runtime.boot import LOADER

__all__ = ["SYSTEM_DEVICES", "SYSTEM_FILES", "command", "confine", "main"]

SYSTEM_FILES = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/proc", "/sys", "/nix/store",
    "/etc/alternatives", "/etc/ca-certificates", "/etc/fonts", "/etc/gai.conf", "/etc/group",
    "/etc/host.conf", "/etc/hosts", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
    "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/passwd", "/etc/pki",
    "/etc/protocols", "/etc/resolv.conf", "/etc/services", "/etc/ssl", "/etc/timezone",
    "/run/systemd/resolve",
)  # fmt: skip
"""What every program may read; of ``/etc`` only what holds no secret."""

SYSTEM_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

_BOOT = f"""{LOADER}\
from mlengine.runtime.confine import main
main(sys.argv[2:])
"""
_LIMITS = {"files": "RLIMIT_NOFILE", "file_bytes": "RLIMIT_FSIZE", "processes": "RLIMIT_NPROC",
           "memory_bytes": "RLIMIT_DATA"}  # fmt: skip
_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _AMBIENT_CLEAR = 38, 24, 47, 4
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522
# A file that belongs to somebody else stays readable to root; Landlock says which at all.
_KEPT_CAPABILITIES = 1 << 1 | 1 << 2
_MOST_CAPABILITIES = 64


def command(python: str, plan: Path, argv: Sequence[str]) -> list[str]:
    """Return the command that confines itself as a file says, and then becomes `argv`.

    Args:
        python: Interpreter to do so with: the engine's, which is trusted.
        plan: File with what `confine` takes.
        argv: What is executed then.
    """
    package = str(Path(__file__).resolve().parents[1])
    return [python, "-I", "-S", "-c", _BOOT, package, str(plan), *argv]


def main(argv: Sequence[str]) -> None:
    """Confine this process as a file says, and become the command that follows."""
    plan = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    for gap in confine(plan):
        sys.stderr.write(f"WARNING: not confined in full: {gap}\n")
    sys.stderr.flush()
    os.execv(argv[1], list(argv[1:]))


def confine(plan: Mapping[str, Any]) -> list[str]:
    """Confine this process; return what this machine cannot hold back.

    Args:
        plan: ``read`` and ``write``: lists of paths; ``devices``: what else is controlled, beside
            those of every program; ``network``: whether the internet may be
            reached; ``groups``: folders of control groups to enter; ``limits``: by name,
            ``files``, ``file_bytes``, ``processes``, ``memory_bytes``; ``gaps``: what is known
            not to be held back. All may be missing.
    """
    gaps = list(plan.get("gaps", ()))
    gaps += [gap for folder in plan.get("groups", ()) for gap in _enter(folder)]
    for name, most in {"core": 0, **plan.get("limits", {})}.items():
        _limit(_LIMITS.get(name, "RLIMIT_CORE"), int(most))
    if not sys.platform.startswith("linux"):
        return [*gaps, "files, sockets and other processes are open to it on this system"]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return [*gaps, "the kernel keeps it from nothing (no_new_privs)"]
    if os.geteuid() == 0:
        _give_up_capabilities(libc)
    return gaps + _hold_back(plan)


def _hold_back(plan: Mapping[str, Any]) -> list[str]:
    # Named here: on other systems there is nothing that they could load.
    from mlengine.runtime import landlock, seccomp

    network, gaps = bool(plan.get("network")), []
    tcp, signals = False, False
    try:
        tcp, signals, truncation = landlock.restrict(
            read=[*SYSTEM_FILES, *plan.get("read", ())], write=plan.get("write", ()),
            devices=[*SYSTEM_DEVICES, *plan.get("devices", ())], network=network,
        )  # fmt: skip
        if not truncation:
            gaps.append("it may empty files that it may read (Linux 6.2 would forbid it)")
    except OSError as error:
        gaps.append(f"all files of its user are open to it ({error.strerror})")
    if not signals:
        gaps.append("it may send signals to its user's processes (Linux 6.12 would forbid it)")
    try:
        seccomp.restrict(network=network)
    except OSError as error:
        what = "Unix sockets and UDP are" if tcp else "the network is"
        gaps.append(f"{what} open to it ({error.strerror})")
    return gaps


def _enter(folder: str) -> list[str]:
    try:
        Path(folder, "cgroup.procs").write_text("0", encoding="ascii")
    except OSError as error:
        return [f"its control group cannot be entered ({error.strerror})"]
    return []


def _limit(name: str, most: int) -> None:
    kind = getattr(resource, name, None)
    if kind is None:
        return
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    with contextlib.suppress(OSError, ValueError):  # macOS knows limits that cannot be set
        resource.setrlimit(kind, (most, most))


def _give_up_capabilities(libc: Any) -> None:
    """Make root a user like others, but for reading what belongs to them."""
    libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0)
    for number in range(_MOST_CAPABILITIES):
        if not _KEPT_CAPABILITIES >> number & 1:
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    call = _CAPSET.get(os.uname().machine)
    if call is not None:
        head = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
        kept = _held_capabilities() & _KEPT_CAPABILITIES
        libc.syscall(ctypes.c_long(call), head, struct.pack("6I", kept, kept, 0, 0, 0, 0))


def _held_capabilities() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    row = next(row for row in status.splitlines() if row.startswith("CapPrm:"))
    return int(row.split()[1], 16)
