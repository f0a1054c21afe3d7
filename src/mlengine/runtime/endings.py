"""Why replicas ended: who is to blame when several fail at once, and the last line of each log.

A replica that fails takes its peers along: their connections break, their collectives abort, and
now and then the kernel lets them end before the one that started it. What they print then names a
lost connection, so the blame goes to whoever failed for a reason of its own.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from mlengine.runtime.replica import Replica

__all__ = ["culprits", "ending"]

_LOST_PEER = re.compile(
    r"UnavailableError|AbortedError|UNAVAILABLE: |ABORTED: |Socket closed|Broken ?[Pp]ipe"
    r"|Connection (reset|refused|closed|timed out)|Connection(Reset|Refused|Aborted)Error"
    r"|failed to connect to all addresses|Dist(Network|Store|Backend)Error|remote process exited"
    r"|[Hh]eartbeat timeout|[Cc]oordination service"
)


def culprits(failed: Sequence[Replica], replicas: Sequence[Replica]) -> list[Replica]:
    """Return whom to blame, the likeliest culprit first.

    Args:
        failed: Those whose end was seen first, in one moment.
        replicas: All of them, when every one has ended and its output was read.
    """
    lost = [r for r in replicas if r.lost]
    if lost:
        return lost  # whatever the others say: a machine that is gone takes its peers along
    blamed = sorted(failed, key=_lost_a_peer)  # stable: otherwise the chief comes first
    if blamed and all(map(_lost_a_peer, blamed)):
        blamed = [r for r in replicas if r not in failed and _failed_by_itself(r)] + blamed
    return blamed


def ending(replica: Replica, outcome: str) -> tuple[str, str]:
    """Return severity and text of the line that closes a replica's log; empty for a success.

    Args:
        replica: One that has ended.
        outcome: What became of the attempt, as in its exit record.
    """
    if replica.spawn_error or not replica.ended:
        return "INFO", ""
    if replica.lost:
        return "ERROR", f"The replica was lost: {replica.lost}"
    if replica.stopped_by_us:
        why = _WHY_STOPPED.get(outcome, "the job was stopped")
        return "INFO", f"The replica was stopped because {why}; it ended with {_status(replica)}."
    if replica.exit_code == 0:
        return "INFO", ""
    silent = "" if replica.last_line() else " It printed nothing."
    severity = "WARNING" if outcome == "succeeded" else "ERROR"  # it harmed nobody
    if replica.oom:
        return severity, f"The replica was killed because memory ran out.{silent}"
    return severity, f"The replica ended with {_status(replica)}.{silent}"


_WHY_STOPPED = {
    "succeeded": "the chief has ended",
    "failed": "another replica failed",
    # By a user, early stopping, or a machine that is shut down: the job's own log says which.
    "cancelled": "its end was asked for",
    "timed_out": "the job ran longer than its maxRunningTime",
}


def _status(replica: Replica) -> str:
    if replica.signal is None:
        return f"exit status {replica.exit_code}"
    try:
        return f"signal {replica.signal} ({signal.Signals(replica.signal).name})"
    except ValueError:
        return f"signal {replica.signal}"


def _lost_a_peer(replica: Replica) -> bool:
    if replica.spawn_error:
        return False
    text = f"{replica.record()['last_error']} {replica.last_line()}"
    return bool(_LOST_PEER.search(text))


def _failed_by_itself(replica: Replica) -> bool:
    """Tell whether it raised an error of its own, also one that our signal overtook."""
    if not replica.exit_code or replica.exit_code > 128:
        return False
    return bool(replica.record()["last_error"]) and not _lost_a_peer(replica)
