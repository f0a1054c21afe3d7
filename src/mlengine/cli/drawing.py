"""SVG by hand: lines, dots, and texts that stay where there is room for them.

A browser sets a text in a font of its own, and nobody can ask it how wide that is. So widths are
those of DejaVu Sans, rounded up: of the fonts that "sans-serif" commonly is, the widest.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["SIZE", "dot", "fitted", "line", "plain", "svg", "text", "width"]

SIZE = 12
"""Height of the font, in pixels; a title's is `_TITLE`."""

_TITLE = 15
_ROOM = 24  # beside a title
_WIDTHS = {
    0.30: "'IJijl", 0.35: " ,./:;\\|", 0.40: "()-[]ft", 0.45: "!r", 0.50: '"*_`', 0.55: "?csz",
    0.60: "FLkvxy", 0.65: "$0123456789EPSTYabdeghnopqu{}", 0.70: "ABCKRVXZ", 0.75: "NU",
    0.80: "&DGHOQ", 0.85: "#+<=>^w~", 0.90: "M",
}  # fmt: skip
_WIDTH_OF = {letter: wide for wide, letters in _WIDTHS.items() for letter in letters}
_WIDEST = 1.1  # of letters that are not in the table


def width(words: str, size: int = SIZE) -> float:
    """Return how wide a text is at most, in pixels.

    Example:
        >>> width("ill") < width("mmm")
        True
    """
    return size * sum(_WIDTH_OF.get(letter, _WIDEST) for letter in words)


def fitted(words: str, room: float, size: int = SIZE) -> str:
    """Return a text, cut if it is wider than the room for it; both its ends tell it from others.

    Example:
        >>> fitted("first-layer-size", 80.0)
        'first-…r-size'
    """
    if width(words, size) <= room:
        return words
    kept = len(words)
    while kept > 1:
        kept -= 1
        head, tail = words[: (kept + 1) // 2], words[len(words) - kept // 2 :]
        if width(f"{head}…{tail}", size) <= room:
            return f"{head}…{tail}"
    return "…"


def text(x: float, y: float, words: str, *, room: float, anchor: str = "middle") -> str:
    """Write a text that is no wider than `room`; what was cut off shows under the pointer."""
    words = plain(words)
    shown = fitted(words, room)
    whole = f"<title>{escape(words)}</title>" if shown != words else ""
    # A white rim keeps it readable where lines run through it.
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" stroke="white" stroke-width="3" '
        f'paint-order="stroke">{whole}{escape(shown)}</text>'
    )


def line(
    points: Sequence[tuple[float, float]], colour: str, thick: float, *, opacity: float = 1.0
) -> str:
    """Draw a line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{thick:.2f}" '
        f'stroke-opacity="{opacity:.2f}"/>'
    )


def dot(x: float, y: float, colour: str, title: str) -> str:
    """Draw a point that says what it is under the pointer."""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" fill-opacity="0.7">'
        f"<title>{escape(plain(title))}</title></circle>"
    )


def svg(parts: Sequence[str], title: str, *, wide: float, high: float) -> str:
    """Return a picture with its title on top."""
    body, shown = "\n".join(parts), fitted(plain(title), wide - _ROOM, _TITLE)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high:.0f}" '
        f'width="{wide:.0f}" height="{high:.0f}" font-family="sans-serif" font-size="{SIZE}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="{wide / 2:.0f}" y="24" text-anchor="middle" font-size="{_TITLE}">'
        f"{escape(shown)}</text>\n{body}\n</svg>\n"
    )


def plain(words: str) -> str:
    """Return a text that XML can hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in words)
