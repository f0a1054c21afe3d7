"""Whether a failed attempt is worth another, and when. Pure.

    how a replica ended                                  another attempt
    exit 1 or 2: its own exception, its own usage text   no: it would end so again
    exit 126 or 127: the program cannot be run           no
    exit 3 of a batch prediction: its model did not load no
    memory ran out                                       no: it would run out again
    any other exit: 134 (abort), 137, 139 (segfault),    may pass
      143 (somebody's SIGTERM), 3, 42, ...
    any signal that was not ours                         may pass
    could not be started: no processes, memory, files    may pass
    could not be started: no such program, no permission no
    its machine, or the way to it, was lost              may pass
    the supervisor is gone without a record, or failed   may pass
    the supervisor was told to end, by no cancel         may pass: the machine was shut down
    cancelled, or ran longer than maxRunningTime         no: somebody wanted it to end

Only replicas that ended by themselves count: those that were stopped because another one failed say
nothing. When several did, one that may pass is enough, because the exception of a replica whose
peer was killed is only the echo; but memory that ran out is final.

A job is started again whole, as many times as ``options.maxRetries`` or the setting ``max_retries``
says (none by default), after 10 s, 20 s, 40 s and so on, at most six minutes. It keeps its CPUs,
memory and GPUs meanwhile.
"""

from __future__ import annotations

import errno
import re

from mlengine.runtime.attemptfiles import signal_name
from mlengine.training.launchers import ExitRecord, Outcome, ReplicaExit

__all__ = [
    "LONGEST_BACKOFF_S",
    "TOLD_TO_END",
    "backoff_s",
    "lost_message",
    "lost_reason",
    "retry_line",
    "retry_reason",
]

LONGEST_BACKOFF_S = 360.0

TOLD_TO_END = "its supervisor was told to end"
"""Why an attempt is over that nobody cancelled; always worth another attempt."""

_PERMANENT_CODES = frozenset({1, 2, 126, 127})
_BATCH_PERMANENT_CODES = _PERMANENT_CODES | {3}  # `LOAD_FAILED` of `runtime.batch`
_PASSING_ERRNOS = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY,
                             errno.ENOSPC, errno.EIO})  # fmt: skip
_ERRNO = re.compile(r"\[Errno (\d+)\]")


def retry_reason(exit_record: ExitRecord, *, is_batch: bool = False) -> str:
    """Say why the attempt failed if another one may go better; empty if not.

    Args:
        exit_record: How it ended.
        is_batch: It was one of a batch prediction, whose exit statuses are our own.

    Example:
        >>> killed = ReplicaExit(task="worker-replica-0", role="worker", index=0, signal=9)
        >>> retry_reason(
        ...     ExitRecord(
        ...         outcome=Outcome.FAILED, replicas=[killed], message="", started=0, ended=1
        ...     )
        ... )
        'worker 0 was killed by SIGKILL'
    """
    if exit_record.outcome is not Outcome.FAILED:
        return ""
    if not exit_record.replicas:
        return "its supervisor failed"
    guilty = [r for r in exit_record.replicas if not r.stopped and _failed(r)]
    if any(r.oom for r in guilty):
        return ""
    permanent = _BATCH_PERMANENT_CODES if is_batch else _PERMANENT_CODES
    passing = [r for r in guilty if _may_pass(r, permanent)]
    return _how(passing[0]) if passing else ""


def lost_reason(ran_in: str) -> str:
    """Say why an attempt is over that has no exit record; always worth another attempt.

    Args:
        ran_in: The folder that it ran in, if it was moved or copied from there since; or empty.
    """
    if ran_in:
        return f"it ran in {ran_in}, and was moved or copied from there, so its end is not known"
    return "its supervisor died without a record"


def lost_message(ran_in: str) -> str:
    """Say the same of a job that fails for it.

    Example:
        >>> lost_message("/old/jobs/u/1")[:55]
        'The job ran in /old/jobs/u/1, and its folder was moved '
    """
    if ran_in:
        return (
            f"The job ran in {ran_in}, and its folder was moved or copied from there meanwhile: "
            "how it ended is not known here. Submit the job again."
        )
    return (
        "The supervisor of the job died without a record (killed, or the machine was restarted); "
        "its replicas were stopped. Submit the job again."
    )


def backoff_s(attempt: int, *, base_s: float) -> float:
    """Return the pause after the n-th attempt, in seconds.

    Example:
        >>> [backoff_s(n, base_s=10.0) for n in (1, 2, 3, 9)]
        [10.0, 20.0, 40.0, 360.0]
    """
    return min(base_s * 2.0 ** min(max(attempt - 1, 0), 30), LONGEST_BACKOFF_S)


def retry_line(attempt: int, *, retries: int, why: str, pause_s: float) -> str:
    """Return the line for the job's log when an attempt is over and another will follow.

    Example:
        >>> retry_line(1, retries=3, why="worker 0 was killed by SIGKILL", pause_s=10.0)
        'Attempt 1 of 4: worker 0 was killed by SIGKILL; starting again in 10 s.'
    """
    return f"Attempt {attempt} of {retries + 1}: {why}; starting again in {pause_s:g} s."


def _failed(replica: ReplicaExit) -> bool:
    ended_badly = replica.signal is not None or bool(replica.exit_code)
    return bool(replica.spawn_error) or bool(replica.lost) or ended_badly


def _may_pass(replica: ReplicaExit, permanent: frozenset[int]) -> bool:
    if replica.lost:
        return True
    if replica.spawn_error:
        number = _ERRNO.search(replica.spawn_error)
        return number is not None and int(number[1]) in _PASSING_ERRNOS
    return replica.signal is not None or replica.exit_code not in permanent


def _how(replica: ReplicaExit) -> str:
    name = f"{replica.role} {replica.index}"
    if replica.lost:
        return f"{name} was lost ({replica.lost})"
    if replica.spawn_error:
        return f"{name} could not be started ({replica.spawn_error})"
    if replica.signal is not None:
        return f"{name} was killed by {signal_name(replica.signal)}"
    return f"{name} exited with status {replica.exit_code}"
