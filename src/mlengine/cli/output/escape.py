"""Text from elsewhere, made harmless for a terminal."""

from __future__ import annotations

import re

__all__ = ["printable"]

# C0 (less tab and newline), DEL, C1, and the marks that turn the direction of text around: with
# them a line can clear the screen, set the window's title, or read otherwise than it is.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str, *, newline: str = "\n") -> str:
    r"""Return `text` with control characters written as escapes such as ``\x1b``.

    Args:
        text: What to show.
        newline: What a line break becomes; ``"\\n"`` keeps a cell of a table on its line.

    Example:
        >>> printable("\x1b[2Jgone")
        '\\x1b[2Jgone'
    """
    if text.isascii() and text.isprintable():
        return text
    # A lone surrogate cannot be written to a terminal at all.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    text = _UNSAFE.sub(_escape, text.replace("\r\n", "\n"))
    return text if newline == "\n" else text.replace("\n", newline)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
