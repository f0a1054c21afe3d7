"""Rows → a table: plain with two blanks between columns, or boxed with a title."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["boxed_table", "plain_table"]

_GAP = "  "


def plain_table(headings: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out under their headings; nothing stands behind the last column.

    Example:
        >>> print(plain_table(["JOB_ID", "STATUS"], [["census_1", "QUEUED"]]), end="")
        JOB_ID    STATUS
        census_1  QUEUED
    """
    lines = [*([headings] if headings else []), *rows]
    widths = _widths(lines)
    return "".join(
        _GAP.join(_pad(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def boxed_table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[Sequence[str]]]
) -> str:
    """Draw a table in a box; a cell is its lines.

    Example:
        >>> print(boxed_table("Job", ["ID"], [[["a", "b"]]]), end="")
        +-----+
        | Job |
        +-----+
        |  ID |
        +-----+
        | a   |
        | b   |
        +-----+
    """
    cells = [list(cell) for row in rows for cell in row]
    columns = len(headings)
    widths = [
        max([_width(headings[i]), *(_width(x) for cell in cells[i::columns] for x in cell)])
        for i in range(columns)
    ]
    inner = sum(widths) + 3 * columns - 1
    if (short := _width(title) + 2 - inner) > 0:
        widths[-1] += short
        inner += short
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"
    drawn = ["+" + "-" * inner + "+\n", f"|{_centre(title, inner)}|\n"] if title else []
    drawn += [rule, _boxed([_centre(h, w) for h, w in zip(headings, widths, strict=True)]), rule]
    for row in rows:
        for number in range(max(len(cell) for cell in row)):
            lines = [cell[number] if number < len(cell) else "" for cell in row]
            drawn.append(_boxed([_pad(x, w) for x, w in zip(lines, widths, strict=True)]))
    return "".join([*drawn, rule])


def _boxed(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(_width(line[i]) for line in lines) for i in range(len(lines[0]))] if lines else []


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _centre(text: str, width: int) -> str:
    left = (width - _width(text) + 1) // 2
    return _pad(" " * left + text, width)


def _width(text: str) -> int:
    """Return how many places a terminal gives to `text`."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
