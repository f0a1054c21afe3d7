"""How much each key may take: so many predictions a second, and so many a day.

    rate    a bucket that fills evenly up to `burst`; a prediction takes one from it
    day     a count that begins anew at midnight UTC, by this machine's clock; one that is set back
            over midnight renews nothing, unless by more than a day: it was wrong before then

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

from mlengine.core.errors import ResourceExhausted, Unauthenticated
from mlengine.prediction.gateway.guard import expired
from mlengine.prediction.routing import Grant

__all__ = ["Bucket", "QuotaExceeded", "Quotas"]

_DAY_S = 86_400
_BEFORE = b"x-ratelimit-limit: %d\r\nx-ratelimit-remaining: "
_AFTER = b"\r\nx-ratelimit-reset: %d\r\n"
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
        held = self.held
        if now_s > self.at_s:  # as `fill`, without its calls
            held += (now_s - self.at_s) * self.rate
            if held > self.size:
                held = self.size
            self.at_s = now_s
        is_there = held >= _FULL
        if is_there:
            held = held - 1.0 if held > 1.0 else 0.0
        self.held = held
        return is_there

    def wait_s(self) -> float:
        """Return when there will be one, after `fill`."""
        return max(1.0 - self.held, 0.0) / self.rate

    def reset_s(self) -> float:
        """Return when it will be full, after `fill`."""
        return (self.size - self.held) / self.rate


class _Meter:
    """What one key has taken."""

    __slots__ = ("_after", "_before", "_limit", "_reset_s", "bucket", "grant", "used")

    def __init__(self, grant: Grant, used: int, now_s: float) -> None:
        self.used = used
        self.bucket: Bucket | None = None
        self._limit = self._reset_s = -1
        self._before = self._after = b""
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

    def lines_down(self, limit: int, left: int, reset_s: int, count: int) -> list[bytes]:
        """Return what the heads of so many answers say, each with one less left."""
        self.lines(limit, left, reset_s)
        before, after = self._before, self._after
        return [b"%b%d%b" % (before, one, after) for one in range(left, left - count, -1)]

    def lines(self, limit: int, left: int, reset_s: int) -> bytes:
        """Return what an answer's head says; mostly nothing but what is left is new."""
        if limit != self._limit or reset_s != self._reset_s:
            self._limit, self._reset_s = limit, reset_s
            self._before, self._after = _BEFORE % limit, _AFTER % reset_s
        return b"%b%d%b" % (self._before, left, self._after)


class Quotas:
    """The quotas of all keys; outlives snapshots.

    Args:
        now_s: A clock that only goes forward, and mostly stands still in a turn of the loop. The
            time of day is read when it has moved.
        wall_s: The time of day: seconds since 1970.
    """

    def __init__(
        self, now_s: Callable[[], float], *, wall_s: Callable[[], float] = time.time
    ) -> None:
        self.refused: dict[str, int] = {}
        self._now_s = now_s
        self._wall_s = wall_s
        self._meters: dict[str, _Meter] = {}
        self._set_day(self._today())
        self._turn: _Meter | None = None  # of who came last, for as long as the clock stands
        self._turn_s = 0.0
        self._saved: dict[str, int] = {}  # of keys that did not come yet
        self._changed = False

    def take(self, grant: Grant) -> bytes:
        """Count a prediction; return the lines of its answer's head.

        Raises:
            QuotaExceeded: There is nothing left.
            Unauthenticated: The key has expired meanwhile.
        """
        now_s, meter = self._now_s(), self._turn
        if meter is None or meter.grant is not grant or now_s != self._turn_s:
            meter = self._begin_turn(grant, now_s)
            if meter is None:
                return b""
        bucket, quota = meter.bucket, grant.daily_quota
        if quota and meter.used >= quota:
            wait_s = self._until_midnight()
            raise self._exceeded(meter, f"{quota} predictions a day", quota, wait_s, wait_s)
        if bucket is not None and not bucket.take(now_s):
            what = f"{bucket.rate:g} predictions a second"
            wait_s = max(math.ceil(bucket.wait_s()), 1)
            reset_s = math.ceil(bucket.reset_s())
            raise self._exceeded(meter, what, int(bucket.size), wait_s, reset_s)
        if quota:
            meter.used += 1
            self._changed = True
            left = quota - meter.used
            if bucket is None or bucket.held - left > 0.0:
                return meter.lines(quota, left, self._until_midnight())
        assert bucket is not None
        reset_s = 1 if bucket.size - bucket.held <= bucket.rate else math.ceil(bucket.reset_s())
        return meter.lines(int(bucket.size), int(bucket.held), reset_s)

    def take_many(self, grant: Grant, count: int) -> list[bytes]:
        """Count up to so many predictions of one turn, each as `take` does.

        Returns:
            The lines of those for whom something was left. Whoever comes after them is for `take`
            to refuse, and to count as refused.
        """
        try:
            now_s = self._now_s()
            meter = self._begin_turn(grant, now_s)
        except Unauthenticated:
            return []
        if meter is None:
            return [b""] * count
        lines = self._take_evenly(meter, count, now_s)
        if lines is not None:
            return lines
        lines = []
        try:
            for _ in range(count):
                lines.append(self.take(grant))
        except QuotaExceeded:
            self.refused[grant.key] -= 1
        return lines

    def taken(self) -> dict[str, Any] | None:
        """Return what the day's quotas must not forget; None if that is what it was last time."""
        if not self._changed:
            return None
        self._changed = False
        used = {key: meter.used for key, meter in self._meters.items() if meter.used}
        return {"day": self._day, "used": {**self._saved, **used}}

    def restore(self, taken: Mapping[str, Any]) -> None:
        """Go on where another gateway ended, if that was today."""
        day = taken.get("day")
        if day in (self._day, self._day + 1):  # the other: the clock was set back meanwhile
            self._set_day(day)
            self._saved = {str(key): int(used) for key, used in taken["used"].items()}

    # --- inner ---

    def _take_evenly(self, meter: _Meter, count: int, now_s: float) -> list[bytes] | None:
        """Take for all at once where one window has least left for each of them; else None."""
        bucket, quota = meter.bucket, meter.grant.daily_quota
        left = quota - meter.used if quota else 0
        if bucket is not None:
            bucket.fill(now_s)
        if (quota and left < count) or (bucket is not None and bucket.held < count):
            return None  # not all of them can have one
        if bucket is None or (quota and bucket.held - left > 0.0):
            limit, last, reset_s = quota, left, self._until_midnight()
        elif bucket.size - bucket.held + count > bucket.rate:
            return None  # when it will be full again changes among them
        else:
            limit, last, reset_s = int(bucket.size), int(bucket.held), 1
        if bucket is not None:
            bucket.held -= count
        if quota:
            meter.used += count
            self._changed = True
        return meter.lines_down(limit, last - 1, reset_s, count)

    def _begin_turn(self, grant: Grant, now_s: float) -> _Meter | None:
        """Look what the time has changed, which later predictions of a turn need not do again.

        Returns:
            What the key has taken; None where nothing limits it.

        Raises:
            Unauthenticated: The key has expired.
        """
        wall_s = self._wall_s()
        if grant.expires and wall_s >= grant.expires:
            raise expired(grant)
        if not self._day_from_s <= wall_s < self._day_to_s:
            self._begin_day()
        meter = self._meters.get(grant.key)
        if meter is None or meter.grant is not grant:
            if grant.requests_per_second <= 0 and not grant.daily_quota:
                return None
            meter = self._known(grant)
        self._turn, self._turn_s = meter, now_s
        return meter

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
        self, meter: _Meter, what: str, limit: int, wait_s: int, reset_s: int
    ) -> QuotaExceeded:
        grant = meter.grant
        self.refused[grant.key] = self.refused.get(grant.key, 0) + 1
        return QuotaExceeded(
            f"Quota exceeded for the key '{grant.key}': {what}.", wait_s=wait_s,
            subject=f"key:{grant.key}", lines=meter.lines(limit, 0, reset_s),
        )  # fmt: skip

    def _today(self) -> int:
        return int(self._wall_s() // _DAY_S)

    def _set_day(self, day: int) -> None:
        self._day = day
        # As floats: to compare a float with an int takes several times as long.
        self._day_from_s = float(self._day * _DAY_S)
        self._day_to_s = self._day_from_s + _DAY_S

    def _until_midnight(self) -> int:
        return max(math.ceil(self._day_to_s - self._wall_s()), 1)

    def _begin_day(self) -> None:
        today = self._today()
        if today == self._day - 1:
            return  # the clock was set back: that day's counts are closed
        self._set_day(today)
        self._saved = {}
        self._changed = True
        for meter in self._meters.values():
            meter.used = 0
