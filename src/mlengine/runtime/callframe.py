"""What a `CALL` frame holds: a few words about a request in any dialect, then its body untouched.

little-endian  u16 length | JSON object of so many bytes | the rest is the body

Its answer has the same form. A body is never read or written anew on its way: it may be binary,
and as long as the version takes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["CALL", "MAX_WORDS_BYTES", "join_call", "split_call"]

CALL: Final = 3
MAX_WORDS_BYTES: Final = 2 + 0xFFFF
"""How much longer than its body a call may be."""

_LENGTH = struct.Struct("<H")


def join_call(meta: Mapping[str, Any], body: bytes | memoryview = b"") -> bytes:
    """Return the payload of a `CALL` frame.

    Raises:
        ValueError: The words take more than 64 KiB.

    Example:
        >>> join_call({"a": 1}, b"body")
        b'\\x07\\x00{"a":1}body'
    """
    words = json.dumps(meta, separators=(",", ":")).encode()
    if _LENGTH.size + len(words) > MAX_WORDS_BYTES:
        raise ValueError(f"the words about a call take {len(words)} bytes")
    return b"".join((_LENGTH.pack(len(words)), words, body))


def split_call(payload: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the words and the body of a `CALL` frame; the body is not copied.

    Raises:
        ValueError: It is none.
    """
    view = memoryview(payload)
    if len(view) < _LENGTH.size:
        raise ValueError("a call without words")
    start = _LENGTH.size + _LENGTH.unpack_from(view)[0]
    if start > len(view):
        raise ValueError("the words about a call are cut off")
    words = json.loads(bytes(view[_LENGTH.size : start]))
    if not isinstance(words, dict):
        raise ValueError("the words about a call are no object")
    return words, view[start:]
