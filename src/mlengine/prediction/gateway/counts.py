"""What the gateway counts of each version: answers by status, and how long they took."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

__all__ = ["BOUNDS_S", "AnswerCounts", "quantile_s"]

BOUNDS_S = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
)  # fmt: skip


class AnswerCounts:
    """Counts of one version since the gateway started; a few additions a request, no object.

    Attributes:
        statuses: HTTP status → answers.
        buckets: How many answers took at most each of `BOUNDS_S`, and longer than the last one.
        total_s: All of their times, from the whole request to the worker's answer.
        at_desk: How many of them the gateway made itself (`desk`).
        awake_s: How long its workers have looked for predictions without sleeping (`vigil`).
    """

    __slots__ = ("at_desk", "awake_s", "buckets", "statuses", "total_s")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {200: 0}
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0
        self.at_desk = 0
        self.awake_s = 0.0

    def answered(self, status: int, taken_s: float, *, count: int = 1) -> None:
        """Count answers of one status that took equally long."""
        self.buckets[bisect_left(BOUNDS_S, taken_s)] += count
        self.total_s += taken_s * count
        self.statuses[status] = self.statuses.get(status, 0) + count

    def failed(self, status: int) -> None:
        """Count a prediction that no worker answered."""
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def as_stats(self) -> dict[str, Any]:
        """Return the counts as JSON-able values."""
        return {
            "statuses": {str(status): count for status, count in self.statuses.items() if count},
            "buckets": list(self.buckets),
            "total_s": self.total_s,
            "at_desk": self.at_desk,
            "awake_s": self.awake_s,
        }


def quantile_s(buckets: Sequence[int], share: float) -> float | None:
    """Return the time within which a share of the answers came, by their histogram.

    Within a bucket times are taken to be spread evenly; beyond the last bound nothing is known, so
    that bound is returned. None: no answers.

    Example:
        >>> quantile_s([0, 0, 10, *[0] * 13], 0.5)
        0.00075
    """
    total = sum(buckets)
    if not total:
        return None
    wanted, seen, low_s = share * total, 0, 0.0
    for high_s, count in zip(BOUNDS_S, buckets, strict=False):
        if count and seen + count >= wanted:
            return low_s + (high_s - low_s) * (wanted - seen) / count
        seen += count
        low_s = high_s
    return BOUNDS_S[-1]
