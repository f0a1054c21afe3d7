"""Curves on a terminal, character by character."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.cli.output.plot import plot

FALLING = [(float(i), math.exp(-i / 10)) for i in range(41)]


def test_a_curve_in_braille() -> None:
    assert (
        plot(FALLING, width=44, height=6, title="loss  (., tensorboard)")
        == """\
loss  (., tensorboard)
      1 ┤⠑⡄
        │ ⠈⠢⡀
        │   ⠈⠢⡀
  0.411 ┤     ⠈⠑⠤⢄
        │         ⠉⠉⠢⠤⢄⡀
0.01832 ┤              ⠈⠉⠉⠑⠒⠒⠢⠤⠤⠤⠤⠤⠤⢄⣀⣀⣀⣀⣀⣀
        └──────────────────────────────────
         0                               40
"""
    )


def test_a_curve_in_ascii() -> None:
    assert (
        plot(FALLING, width=40, height=5, ascii=True)
        == """\
      1 +**
        | ***
 0.5092 +    ****
        |       ********
0.01832 +              ****************
        +------------------------------
         0                           40
"""
    )


def test_a_point_and_a_flat_curve_run_through_the_middle() -> None:
    assert (
        plot([(7, 2.0)], width=16, height=3, ascii=True)
        == """\
2.1 +
    |*
1.9 +
    +----------
     7
"""
    )
    assert (
        plot([(0, 0.0), (9, 0.0)], width=13, height=3, ascii=True)
        == """\
 1 +
   |********
-1 +
   +--------
    0      9
"""
    )


def test_what_is_not_finite_is_left_out_and_counted() -> None:
    points = [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)]
    drawn = plot(points, width=20, height=3, ascii=True)
    assert drawn.endswith("(2 of 4 values are not finite)\n")
    assert plot([(0, math.nan)], width=20, title="t") == "t\n(1 of 1 values are not finite)\n"
    assert plot([], width=20) == ""


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=30),
    st.integers(10, 200),
    st.integers(1, 20),
    st.booleans(),
)
def test_no_points_break_the_frame(
    points: list[tuple[float, float]], width: int, height: int, ascii: bool
) -> None:
    lines = plot(points, width=width, height=height, ascii=ascii).splitlines()
    assert len(lines) == max(height, 3) + 2
    # A label is never cut: 11 characters at the left, two of 13 below, are the widest frame.
    assert max(map(len, lines)) <= max(width, 11 + 2 + 13 + 1 + 13)
    marks = [c for line in lines[:-2] for c in line if c == "*" or ord(c) >= 0x2801]
    assert marks
    if ascii:
        assert "".join(lines).isascii()


@pytest.mark.parametrize("value", [1e-300, 1e300, -1e300, 5e-324])
def test_giant_and_tiny_values_are_drawn(value: float) -> None:
    assert plot([(0, value), (1, value * 2), (2, 0.0)], width=40).count("\n") == 12
