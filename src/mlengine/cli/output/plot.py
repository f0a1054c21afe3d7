"""A curve on a terminal: braille dots, two by four to a character, or stars where it has none."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["plot"]

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800
_LEAST_WIDTH, _LEAST_HEIGHT = 8, 3

Point = tuple[float, float]


def plot(
    points: Iterable[Point], *, width: int, height: int = 10, title: str = "", ascii: bool = False
) -> str:
    """Draw one curve with its axes; points that are not finite are left out, and counted.

    Args:
        points: Abscissa and ordinate, in the order in which they are joined.
        width: Columns of the terminal, labels included.
        height: Lines of the curve itself.
        title: Stands above it.
        ascii: Use no character beyond ASCII.

    Example:
        >>> print(plot([(0, 0.0), (4, 1.0)], width=14, height=3, ascii=True), end="")
        1 +       ***
          |   ****
        0 +***
          +----------
           0        4
    """
    every = list(points)
    drawn = [p for p in every if math.isfinite(p[0]) and math.isfinite(p[1])]
    lines = [title] if title else []
    if drawn:
        lines += _framed(drawn, width, max(height, _LEAST_HEIGHT), ascii)
    if len(drawn) < len(every):
        lines.append(f"({len(every) - len(drawn)} of {len(every)} values are not finite)")
    return "".join(line.rstrip() + "\n" for line in lines)


def _framed(points: Sequence[Point], width: int, height: int, ascii: bool) -> list[str]:
    low, high = _span([y for _x, y in points])
    labels = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
    if height >= 5:
        labels[height // 2] = f"{high - (high - low) * (height // 2) / (height - 1):.4g}"
    margin = max(map(len, labels.values()))
    columns = max(width - margin - 3, _LEAST_WIDTH)
    tick, bar, corner, rule = "+|+-" if ascii else "┤│└─"
    rows = _stars(points, columns, height) if ascii else _braille(points, columns, height)
    lines = [
        f"{labels.get(i, ''):>{margin}} {tick if i in labels else bar}{row}"
        for i, row in enumerate(rows)
    ]
    lines.append(" " * (margin + 1) + corner + rule * columns)
    first, last = f"{points[0][0]:.6g}", f"{points[-1][0]:.6g}"
    gap = " " * max(columns - len(first) - len(last), 1)
    ends = first + gap + last if last != first else first
    return [*lines, " " * (margin + 2) + ends]


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:  # a flat curve runs through the middle
        room = abs(low) * 0.05 or 1.0
        return low - room, high + room
    return low, high


def _braille(points: Sequence[Point], columns: int, height: int) -> list[str]:
    cells = [[_BLANK] * columns for _ in range(height)]
    for x, y in _pixels(points, columns * 2, height * 4):
        cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    return ["".join(" " if c == _BLANK else chr(c) for c in row) for row in cells]


def _stars(points: Sequence[Point], columns: int, height: int) -> list[str]:
    cells = [[" "] * columns for _ in range(height)]
    for x, y in _pixels(points, columns, height):
        cells[y][x] = "*"
    return ["".join(row) for row in cells]


def _pixels(points: Sequence[Point], width: int, height: int) -> Iterator[tuple[int, int]]:
    """Yield the dots of the curve, from the upper left corner."""
    left, right = min(x for x, _y in points), max(x for x, _y in points)
    low, high = _span([y for _x, y in points])
    scaled = [
        (round(_share(x, left, right) * (width - 1)), round(_share(y, high, low) * (height - 1)))
        for x, y in points
    ]
    yield scaled[0]
    for (x1, y1), (x2, y2) in itertools.pairwise(scaled):
        steps = max(abs(x2 - x1), abs(y2 - y1), 1)
        for i in range(1, steps + 1):
            yield round(x1 + (x2 - x1) * i / steps), round(y1 + (y2 - y1) * i / steps)


def _share(value: float, start: float, end: float) -> float:
    """Return how far a value is on the way; by halves, because the whole way may overflow."""
    way = end / 2 - start / 2
    return (value / 2 - start / 2) / way if way else 0.0
