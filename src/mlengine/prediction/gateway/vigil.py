"""Keeps gateway and workers awake for each other's next word, where that brings more answers.

To wake a process that sleeps takes longer than most models compute for one row. A gateway and a
worker that answer each other at once may do without: the gateway looks again and again for the
answer, and the worker, which is told to (`frames.STAY`), for the next prediction. Neither does so
for longer than `STAY_S` after the last, and both look at all their sockets: nobody else waits.
Between two looks each lets others have its CPU: the kernel may have put gateway, worker and caller
on one, and who looks would keep from its work whom it waits for.

It takes time of CPUs that callers and other workers may need more. Whether it pays depends on all
of them, so it is tried, for a fiftieth of a second, again and again (`Gain`): by the answers alone,
so callers who keep to a rate of their own gain nothing by it, and what jobs lose is not seen. The
engine allows it where there are CPUs enough whose time is not rationed (`Snapshot.may_stay_awake`):
what is used up of a ration is missed later than a trial can see.
"""

from __future__ import annotations

import asyncio
import os
import time

from mlengine.runtime.frames import STAY_S

__all__ = ["Gain", "Vigil"]

_TRIAL_S = 0.02
_KEEP_S, _MAX_KEEP_S = 0.25, 2.0  # what was better; twice as long each time that it is again
_LEAST_PER_S = 2000.0  # fewer answers have longer pauses between them than anybody stays awake
_WORTH = 1.25  # times as many answers


class Gain:
    """Tells by trying whether staying awake brings more answers a second. Pure.

        asleep, 20 ms ──▶ awake, 20 ms ──▶ whichever was better, seconds ──▶ asleep …

    Times are of `time.monotonic`, in seconds.

    Attributes:
        pays: Whether it did when it was tried the last time.
        until_s: When what is done now ends; without a prediction later than that.

    Example:
        >>> gain = Gain()
        >>> gain.is_awake(0.0), gain.answered(60), gain.is_awake(0.02)
        (False, None, True)
        >>> gain.answered(180), gain.is_awake(0.04), gain.is_awake(0.28)
        (None, True, True)
        >>> gain.is_awake(0.29)
        False
    """

    def __init__(self) -> None:
        self.pays = False
        self._is_awake = False
        self._is_trial = True
        self._answers = 0
        self._since_s = 0.0
        self.until_s = 0.0
        self._asleep_per_s = 0.0
        self._keep_s = _KEEP_S

    def answered(self, count: int) -> None:
        """Count answers."""
        self._answers += count

    def is_awake(self, now_s: float) -> bool:
        """Tell whether to be awake now."""
        if now_s >= self.until_s:
            self.until_s = now_s + self._next(now_s)
        return self._is_awake

    def _next(self, now_s: float) -> float:
        """Judge what was, and begin what comes next; return how long it is to last."""
        took_s = now_s - self._since_s
        per_s = self._answers / took_s if took_s > 0 else 0.0
        self._answers, self._since_s = 0, now_s
        if not self._is_trial:
            self._is_trial, self._is_awake = True, False
            return _TRIAL_S
        if not self._is_awake:
            self._asleep_per_s, self._is_awake = per_s, per_s >= _LEAST_PER_S
            self.pays = self.pays and self._is_awake
            return _TRIAL_S
        paid, self.pays = self.pays, per_s >= _WORTH * self._asleep_per_s
        self._is_trial, self._is_awake = False, self.pays
        self._keep_s = min(2 * self._keep_s, _MAX_KEEP_S) if self.pays == paid else _KEEP_S
        return self._keep_s


class Vigil:
    """Keeps the loop of the gateway awake, and says when a worker is to be.

    Args:
        loop: The gateway's.
        is_allowed: Whether anybody may stay awake.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, is_allowed: bool = False) -> None:
        self.is_allowed = is_allowed
        self._loop = loop
        self._gain = Gain()
        self._owing: set[object] = set()  # workers whose answers are looked for
        self._until_s = 0.0
        self._is_looking = False

    @property
    def is_kept(self) -> bool:
        """Whether the gateway and the workers that it asks stay awake at the moment."""
        return self.is_allowed and self._gain.pays and time.monotonic() < self._gain.until_s

    def sent(self, worker: object, now_s: float) -> bool:
        """Note that predictions are sent to a worker; tell whether it is to stay awake then.

        The gateway then stays awake for the answers.
        """
        if not (self.is_allowed and self._gain.is_awake(now_s)):
            return False
        self._owing.add(worker)
        self._until_s = max(self._until_s, now_s + STAY_S)
        if not self._is_looking:
            self._is_looking = True
            self._loop.call_soon(self._look)
        return True

    def heard(self, worker: object, answers: int, *, is_last: bool) -> None:
        """Note that a worker has answered; `is_last` says that it owes no more."""
        self._gain.answered(answers)
        if is_last:
            self._owing.discard(worker)

    def _look(self) -> None:
        """Be called again in the next turn: a loop that has something to do does not sleep."""
        self._is_looking = bool(self._owing) and time.monotonic() < self._until_s
        if self._is_looking:
            os.sched_yield()  # who answers, or asks, may wait for this CPU
            self._loop.call_soon(self._look)
        else:
            self._owing.clear()
