"""What is counted of versions, and handed over to be written down."""

from __future__ import annotations

from mlengine.prediction.tally import Batch, Tally


def test_a_batch_is_given_until_it_is_known_and_never_changes() -> None:
    tally = Tally()
    assert tally.batch(Batch()).counted == []
    counter = tally.counter("m", 1, "v1")
    counter.counts.requests += 1
    first = tally.batch(Batch())
    assert (first.number, first.counted[0].counts.requests) == (1, 1)
    counter.counts.requests += 2
    assert tally.batch(Batch()) == first
    assert tally.batch(Batch("another gateway", 1)) == first
    second = tally.batch(first)
    assert (second.number, second.counted[0].counts.requests) == (2, 2)
    nothing = tally.batch(second)
    assert (nothing.number, nothing.counted) == (2, [])
    assert tally.batch(second).counted == []
    counter.counts.requests += 4
    assert tally.batch(second).number == 3


def test_a_version_is_counted_in_one_place_a_period() -> None:
    tally = Tally()
    assert tally.counter("m", 1, "v1") is tally.counter("m", 1, "v1")
    assert tally.counter("m", 1, "v1") is not tally.counter("m", 2, "v1")
