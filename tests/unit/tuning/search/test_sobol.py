"""Sobol's sequence: evenness is what it is for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.tuning.search.sobol import Sobol

AXES = 70  # more than its table has


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 5))
def test_each_slice_of_each_axis_has_one_point(seed: int, power: int) -> None:
    sequence, count = Sobol(AXES, seed), 2**power
    points = [sequence.point(i) for i in range(count)]
    for axis in range(AXES):
        slices = sorted(int(point[axis] * count) for point in points)
        assert slices == list(range(count))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**40))
def test_each_square_of_the_first_two_axes_has_one_point(seed: int) -> None:
    points = [Sobol(2, seed).point(i) for i in range(64)]
    for wide in (1, 2, 4, 8, 16, 32, 64):
        tall = 64 // wide
        assert len({(int(x * wide), int(y * tall)) for x, y in points}) == 64


def test_axes_differ_and_seeds_differ() -> None:
    point = Sobol(AXES, 1).point(5)
    assert len(set(point)) == AXES
    assert point != Sobol(AXES, 2).point(5)


def test_numbers_lie_strictly_inside() -> None:
    sequence = Sobol(3, 0)
    assert all(0 < number < 1 for i in range(256) for number in sequence.point(i))


def test_unscrambled_directions_are_those_of_joe_and_kuo() -> None:
    qmc = pytest.importorskip("scipy.stats.qmc", reason="scipy is the reference here")
    from mlengine.tuning.search.sobol import _directions

    drawn = qmc.Sobol(64, scramble=False, bits=32).random(64)
    for i in range(64):
        gray = i ^ (i >> 1)  # its order of the same points
        for axis, columns in enumerate(_directions()):
            word = 0
            for bit in range(32):
                if gray >> bit & 1:
                    word ^= columns[bit]
            assert drawn[i][axis] == word / 2**32
