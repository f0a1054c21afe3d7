"""A clock that stands still until its test moves it."""

from __future__ import annotations

import datetime

from mlengine.core.clock import Clock


class PlayedClock:
    """Wall and monotonic time, moved together by `pass_s` or apart by `jump_s`."""

    def __init__(self) -> None:
        self._now = datetime.datetime(2018, 3, 2, 6, 50, 6, tzinfo=datetime.UTC)
        self._monotonic_s = 100.0

    def pass_s(self, seconds: float) -> None:
        self.jump_s(seconds)
        self._monotonic_s += seconds

    def jump_s(self, seconds: float) -> None:
        self._now += datetime.timedelta(seconds=seconds)

    def now(self) -> datetime.datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._monotonic_s


_: type[Clock] = PlayedClock
