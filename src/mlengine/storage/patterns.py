"""Wildcards over object names: ``*`` and ``?`` stay within a segment, ``**`` crosses slashes.

Every wildcard but the last takes the leftmost place that fits and never tries another, which loses
no match because what follows can reach at least as far from there. So no pattern of a user can hold
the engine: time is at most the name's length times its longest segment.
"""

from __future__ import annotations

import re

__all__ = ["compile_pattern", "has_wildcards", "literal_prefix"]

_DOUBLE_STARS = re.compile(r"((?:(?<=/)|^)\*{2,}/|\*{2,})")


def has_wildcards(name: str) -> bool:
    """Return whether `name` has ``*`` or ``?``."""
    return "*" in name or "?" in name


def literal_prefix(pattern: str) -> str:
    """Return what every match starts with.

    Example:
        >>> literal_prefix("data/2024-*/x?.csv")
        'data/2024-'
    """
    return re.split(r"[*?]", pattern, maxsplit=1)[0]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return an expression whose `fullmatch` tells which names `pattern` means.

    ``**/`` at the start of a segment also means no folder at all, so ``a/**/b`` matches ``a/b``.

    Example:
        >>> bool(compile_pattern("data/*.csv").fullmatch("data/a.csv"))
        True
        >>> bool(compile_pattern("data/*.csv").fullmatch("data/sub/a.csv"))
        False
    """
    first, *others = _DOUBLE_STARS.split(pattern)
    steps = [*zip(others[::2], others[1::2], strict=True)]
    parts = [_piece(first, is_last=not steps)]
    for number, (double, rest) in enumerate(steps, start=1):
        lazy, piece = _LAZY[double.endswith("/")], _piece(rest, is_last=number == len(steps))
        parts.append(f"(?>{lazy}{piece})" if number < len(steps) else f"{lazy}{piece}")
    return re.compile("".join(parts), re.DOTALL)


_LAZY = {True: "(?:.*?/)??", False: ".*?"}


def _piece(text: str, *, is_last: bool) -> str:
    """Translate what lies between two ``**``; only the name's end makes a star look further."""
    first, *others = text.split("*")
    parts = [_fixed(first)]
    for number, fixed in enumerate(others, start=1):
        if is_last and number == len(others):
            parts.append("[^/]*" + _fixed(fixed))
        elif fixed:
            parts.append(f"(?>[^/]*?{_fixed(fixed)})")
    return "".join(parts)


def _fixed(text: str) -> str:
    return "[^/]".join(re.escape(part) for part in text.split("?"))
