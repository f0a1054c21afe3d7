"""What the gateway counts of each version, until the engine has written it down.

Counts are handed over in numbered batches. A batch is given again, as it was, until the engine says
that it has it; the store adds one only once. So nothing is counted twice, whoever dies; what a
gateway counted since the last batch is lost with it.
"""

from __future__ import annotations

import os

import msgspec

from mlengine.store.trafficstore import ArmCounts

__all__ = ["Batch", "Counted", "Counter", "Tally"]


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """What was counted of one version; `model` is its full name."""

    model: str
    period: int
    version_id: str
    counts: ArmCounts


class Batch(msgspec.Struct, frozen=True):
    """Counts of one gateway; one without counts has the number of the last that had some.

    Attributes:
        gateway: Tells this life of a gateway from every other.
    """

    gateway: str = ""
    number: int = 0
    counted: list[Counted] = []


class Counter:
    """Where a version's counts go; they are replaced when a batch is made, so look each time."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = ArmCounts()


class Tally:
    """All counters of a gateway."""

    def __init__(self) -> None:
        self._gateway = os.urandom(8).hex()
        self._counters: dict[tuple[str, int, str], Counter] = {}
        self._last = Batch(self._gateway)

    def counter(self, model: str, period: int, version_id: str) -> Counter:
        """Return the counter of a version in a period."""
        return self._counters.setdefault((model, period, version_id), Counter())

    def batch(self, known: Batch) -> Batch:
        """Return what is to be written down: the last batch again, unless it is known.

        Args:
            known: The newest batch that the engine has written; its counts do not matter.
        """
        is_known = (known.gateway, known.number) == (self._gateway, self._last.number)
        if self._last.counted and not is_known:
            return self._last
        counted = self._freeze()
        self._last = Batch(self._gateway, self._last.number + bool(counted), counted)
        return self._last

    def _freeze(self) -> list[Counted]:
        found, nothing = [], ArmCounts()
        for (model, period, version_id), counter in self._counters.items():
            if counter.counts != nothing:
                found.append(Counted(model, period, version_id, counter.counts))
                counter.counts = ArmCounts()
        return found
