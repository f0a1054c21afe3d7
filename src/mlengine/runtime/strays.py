"""What replicas that have ended well leave running: given a moment, then told of and stopped.

Libraries have helpers that end by themselves once their program has, a little later (the resource
trackers of multiprocessing and loky, Ray's workers): of these nothing is told. What still runs
after the moment is work that somebody counted on.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from mlengine.runtime.processes import Process

__all__ = ["Strays"]

_MOMENT_S = 1.0
_TOLD = 5
_SHOWN_LETTERS = 120


class Strays:
    """Those of one attempt."""

    def __init__(self) -> None:
        self._until_s = math.inf
        self._told: set[int] = set()

    def may_go_on(self, left: Sequence[Process], now_s: float, *, most_s: float) -> bool:
        """Return whether to wait for those that are left: the moment begins with the first call.

        Args:
            most_s: How long it may be, if it is shorter than ours.
        """
        self._until_s = min(self._until_s, now_s + min(_MOMENT_S, most_s))
        return bool(left) and now_s < self._until_s

    def tell(self, left: Sequence[Process]) -> str:
        """Return a line about those that are to be stopped now; empty when all were told of."""
        fresh = [row for row in left if row.pid not in self._told]
        if not fresh:
            return ""
        self._told |= {row.pid for row in fresh}
        shown = ", ".join(_command(row.pid) for row in fresh[:_TOLD])
        more = f" and {len(fresh) - _TOLD} more" if len(fresh) > _TOLD else ""
        who = "1 process was" if len(fresh) == 1 else f"{len(fresh)} processes were"
        return (
            f"{who} still running after the program had ended, and stopped: {shown}{more}. Have "
            "the program wait for what it starts: nothing goes on in the background."
        )


def _command(pid: int) -> str:
    try:
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:  # gone by now
        words = []
    text = " ".join(shlex.quote(word.decode(errors="replace")) for word in words)
    text = " ".join(text.split()) or f"pid {pid}"
    return text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]}…"
