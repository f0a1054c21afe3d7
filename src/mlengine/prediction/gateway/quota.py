"""How much each key may take: so many predictions a second, and so many a day.

    rate    a bucket that fills evenly up to `burst`; a prediction takes one from it
    day     a count that begins anew at midnight UTC, by this machine's clock

A prediction is counted when it was read whole and is about to be sent to a worker, once, whatever
comes of it; one body is one prediction, however many instances it holds. What is refused takes
nothing. The bucket is forgotten with the gateway; the day's counts are written down once a second
(see `Server`), so a gateway that is killed forgets at most what one second took.

Answers that a quota was asked for say what is left of it, by the window that has least left::

    x-ratelimit-limit: 50        x-ratelimit-remaining: 12        x-ratelimit-reset: 3

`reset` is in seconds: until the bucket is full again, or until midnight.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from mlengine.core.errors import ResourceExhausted
from mlengine.prediction.gateway.guard import expired
from mlengine.prediction.routing import Grant

__all__ = ["Bucket", "QuotaExceeded", "Quotas"]

_DAY_S = 86_400
_LINES = b"x-ratelimit-limit: %d\r\nx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n"
_FULL = 1.0 - 1e-9  # what rounding makes of 1


class QuotaExceeded(ResourceExhausted):
    """A key has taken all that it may for now.

    Args:
        problem: What was exceeded.
        wait_s: When to come again.
        subject: Whose quota it is.
        lines: Of the answer's head.
    """

    def __init__(self, problem: str, *, wait_s: int, subject: str, lines: bytes) -> None:
        super().__init__(problem, f"Wait {wait_s} s, or ask for a larger quota.")
        self.wait_s = wait_s
        self.subject = subject
        self.lines = lines


class Bucket:
    """Fills evenly, up to its size; holds no more than that and never less than nothing.

    Example:
        >>> bucket = Bucket(rate=1.0, size=2.0, now_s=0.0)
        >>> bucket.take(0.0), bucket.take(0.0), bucket.take(0.5), bucket.take(1.0)
        (True, True, False, True)
    """

    __slots__ = ("at_s", "held", "rate", "size")

    def __init__(self, *, rate: float, size: float, now_s: float) -> None:
        self.rate = rate
        self.size = size
        self.held = size
        self.at_s = now_s

    def fill(self, now_s: float) -> None:
        """Put in what time has brought; a clock that stands still or goes back brings nothing."""
        if now_s > self.at_s:
            self.held = min(self.size, self.held + (now_s - self.at_s) * self.rate)
            self.at_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one; False if there is none."""
        if now_s > self.at_s:  # as `fill`, without its call
            self.held = min(self.size, self.held + (now_s - self.at_s) * self.rate)
            self.at_s = now_s
        if self.held < _FULL:
            return False
        self.held -= 1.0 if self.held > 1.0 else self.held
        return True

    def wait_s(self) -> float:
        """Return when there will be one, after `fill`."""
        return max(1.0 - self.held, 0.0) / self.rate

    def reset_s(self) -> float:
        """Return when it will be full, after `fill`."""
        return (self.size - self.held) / self.rate


class _Meter:
    """What one key has taken."""

    __slots__ = ("bucket", "grant", "used")

    def __init__(self, grant: Grant, used: int, now_s: float) -> None:
        self.used = used
        self.bucket: Bucket | None = None
        self.adopt(grant, now_s)

    def adopt(self, grant: Grant, now_s: float) -> None:
        """Go by another grant of the same key; what was taken stays taken."""
        self.grant = grant
        rate, old = grant.requests_per_second, self.bucket
        if rate <= 0:
            self.bucket = None
            return
        size = max(float(grant.burst or rate), 1.0)
        self.bucket = Bucket(rate=rate, size=size, now_s=now_s)
        if old is not None:
            old.fill(now_s)
            self.bucket.held = min(old.held, size)


class Quotas:
    """The quotas of all keys; outlives snapshots.

    Args:
        now_s: A clock that only goes forward.
        wall_s: The time of day: seconds since 1970.
    """

    def __init__(
        self, now_s: Callable[[], float], *, wall_s: Callable[[], float] = time.time
    ) -> None:
        self.refused: dict[str, int] = {}
        self._now_s = now_s
        self._wall_s = wall_s
        self._meters: dict[str, _Meter] = {}
        self._day = self._today()
        self._saved: dict[str, int] = {}  # of keys that did not come yet
        self._changed = False

    def take(self, grant: Grant) -> bytes:
        """Count a prediction; return the lines of its answer's head.

        Raises:
            QuotaExceeded: There is nothing left.
            Unauthenticated: The key has expired meanwhile.
        """
        wall_s = self._wall_s()
        if grant.expires and wall_s >= grant.expires:
            raise expired(grant)
        meter = self._meters.get(grant.key)
        if meter is None or meter.grant is not grant:
            if grant.requests_per_second <= 0 and not grant.daily_quota:
                return b""
            meter = self._known(grant)
        if wall_s // _DAY_S != self._day:
            self._begin_day()
        bucket, quota = meter.bucket, grant.daily_quota
        if quota and meter.used >= quota:
            wait_s = _until_midnight(wall_s)
            raise self._exceeded(grant, f"{quota} predictions a day", quota, wait_s, wait_s)
        if bucket is not None and not bucket.take(self._now_s()):
            what = f"{bucket.rate:g} predictions a second"
            wait_s = max(math.ceil(bucket.wait_s()), 1)
            reset_s = math.ceil(bucket.reset_s())
            raise self._exceeded(grant, what, int(bucket.size), wait_s, reset_s)
        if quota:
            meter.used += 1
            self._changed = True
            left = quota - meter.used
            if bucket is None or left < bucket.held:
                return _LINES % (quota, left, _until_midnight(wall_s))
        assert bucket is not None
        return _LINES % (bucket.size, bucket.held, math.ceil(bucket.reset_s()))

    def taken(self) -> dict[str, Any] | None:
        """Return what the day's quotas must not forget; None if that is what it was last time."""
        if not self._changed:
            return None
        self._changed = False
        used = {key: meter.used for key, meter in self._meters.items() if meter.used}
        return {"day": self._day, "used": {**self._saved, **used}}

    def restore(self, taken: Mapping[str, Any]) -> None:
        """Go on where another gateway ended, if that was today."""
        if taken.get("day") == self._day:
            self._saved = {str(key): int(used) for key, used in taken["used"].items()}

    # --- inner ---

    def _known(self, grant: Grant) -> _Meter:
        """Return the meter of a key that comes for the first time, or with another grant."""
        meter, now_s = self._meters.get(grant.key), self._now_s()
        if meter is None:
            meter = _Meter(grant, self._saved.pop(grant.key, 0), now_s)
            self._meters[grant.key] = meter
        else:
            meter.adopt(grant, now_s)
        return meter

    def _exceeded(
        self, grant: Grant, what: str, limit: int, wait_s: int, reset_s: int
    ) -> QuotaExceeded:
        self.refused[grant.key] = self.refused.get(grant.key, 0) + 1
        return QuotaExceeded(
            f"Quota exceeded for the key '{grant.key}': {what}.", wait_s=wait_s,
            subject=f"key:{grant.key}", lines=_LINES % (limit, 0, reset_s),
        )  # fmt: skip

    def _today(self) -> int:
        return int(self._wall_s() // _DAY_S)

    def _begin_day(self) -> None:
        self._day = self._today()
        self._saved = {}
        self._changed = True
        for meter in self._meters.values():
            meter.used = 0


def _until_midnight(wall_s: float) -> int:
    return _DAY_S - int(wall_s % _DAY_S)
