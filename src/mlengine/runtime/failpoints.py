"""Named places where a test may make a process fail; they cost one comparison when none is armed.

    MLENGINE_FAILPOINT=exit.before-rename:kill,job.inserted:enospc:2

`NAME:ACTION[:NTH]`, several by commas: the NTH time (the first by default) that a process comes to
NAME it does ACTION. Each failpoint stands at a commit, rename, spawn or signal: between what was
done and what is told about it. `NAMES` lists all of them, so that a test can walk them.
``MLENGINE_FAILPOINT_HITS`` names a file to which a process appends NAME before it fails.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import errno
import os
import signal

__all__ = ["ACTIONS", "HITS_VARIABLE", "NAMES", "VARIABLE", "environment", "hit"]

VARIABLE = "MLENGINE_FAILPOINT"
HITS_VARIABLE = "MLENGINE_FAILPOINT_HITS"

NAMES = (
    # a job, as the engine sees it
    "job.create.before-insert",
    "job.create.after-insert",
    "job.create.before-reply",
    "job.claim.before-write",
    "job.claim.after-write",
    "job.preparing.after-move",
    "job.prepared",
    "job.running.before-move",
    "job.running.after-move",
    "job.collect.before",
    "job.collect.after",
    "job.end.before-move",
    "job.end.after-move",
    "job.cancel.before-move",
    "job.cancel.after-move",
    "job.cancelled.before-sweep",
    "job.cancelled.before-end",
    "job.retry.before-note",
    "job.retry.after-note",
    "job.retry.after-move",
    # a tuning job: a trial is on record, its child is, its result and the job's end are about to be
    "tuning.recorded",
    "tuning.child-added",
    "tuning.before-close",
    "tuning.before-end",
    # starting a supervisor
    "launch.locked",
    "launch.spec-written",
    "launch.spawned",
    "launch.cancel-written",
    # the supervisor
    "supervisor.before-identity",
    "supervisor.after-identity",
    "supervisor.before-started",
    "supervisor.after-started",
    "supervisor.before-exit",
    "supervisor.after-exit",
    "replica.before-spawn",
    "replica.after-spawn",
    "gang.before-stop",
    "gang.before-kill",
    # durable files of both
    "file.written",
    "file.renamed",
    # environments, objects, models
    "environment.before-commit",
    "environment.after-commit",
    "object.before-commit",
    "object.after-commit",
    "artifact.copied",
    "artifact.renamed",
    "version.before-ready",
    "version.after-ready",
    "routing.before-push",
)
"""Every failpoint there is."""

ACTIONS = ("exit", "kill", "stop", "enospc", "eio", "emfile")
"""End at once, be killed, be stopped (SIGSTOP), or an `OSError` of that number."""

_EXIT_CODE = 99
_armed: dict[str, list[tuple[str, int]]] = {}
_counts: dict[str, int] = {}


def hit(name: str) -> None:
    """Fail here if the environment of this process says so."""
    if _armed and name in _armed:
        _act(name)


def environment() -> dict[str, str]:
    """Return the variables that a process needs to be armed as this one is."""
    names = (VARIABLE, HITS_VARIABLE)
    return {name: os.environ[name] for name in names if name in os.environ}


def _act(name: str) -> None:
    _counts[name] = _counts.get(name, 0) + 1
    for action, nth in _armed[name]:
        if _counts[name] == nth:
            _tell(name)
            _fail(name, action)


def _fail(name: str, action: str) -> None:
    if action == "exit":
        os._exit(_EXIT_CODE)
    if action in ("kill", "stop"):
        os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
        return
    number = {"enospc": errno.ENOSPC, "eio": errno.EIO, "emfile": errno.EMFILE}[action]
    raise OSError(number, os.strerror(number), "failpoint " + name)


def _tell(name: str) -> None:
    path = os.environ.get(HITS_VARIABLE)
    if path:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(descriptor, name.encode("ascii") + b"\n")
        os.close(descriptor)


def _arm(text: str) -> None:
    """Read the variable.

    Raises:
        ValueError: It names no failpoint, or no action: a test that arms nothing proves nothing.
    """
    for part in filter(None, text.split(",")):
        words = part.split(":")
        if len(words) not in (2, 3) or words[0] not in NAMES or words[1] not in ACTIONS:
            raise ValueError(part + " is not NAME:ACTION[:NTH]; see mlengine.runtime.failpoints")
        _armed.setdefault(words[0], []).append((words[1], int(words[2]) if words[2:] else 1))


_arm(os.environ.get(VARIABLE, ""))
