"""JSON as RFC 8259 means it, and nothing that parsers disagree about.

Refused, though common parsers accept it: NaN and infinities (also spelled ``1e999``), a key given
twice, a lone surrogate, more than `MAX_DEPTH` nested values, an integer that 64 bits cannot hold.
Two parsers that read one text differently are how a check is passed and then evaded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

try:
    import msgspec
except ModuleNotFoundError:  # a runtime has its own libraries, and this is none of them
    msgspec = None  # type: ignore[assignment]

__all__ = ["MAX_DEPTH", "StrictJsonError", "dumps", "loads"]

MAX_DEPTH = 100

_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
_MANY_DIGITS = b"0" * 19  # the shortest run of digits that may leave 64 bits
_DIGITS_ALIKE = bytes.maketrans(b"0123456789", b"0" * 10)
_BRACES_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(b for b in range(256) if b not in b"[]{}")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')

_LONE = "a text holds a lone surrogate, half of a pair of \\u escapes, which UTF-8 cannot carry"

_encode_thoroughly = json.JSONEncoder(
    allow_nan=False, ensure_ascii=False, separators=(",", ":")
).encode


class StrictJsonError(ValueError):
    """The text is not strict JSON, or the value has no strict JSON form; says what and where."""


def _decode_slowly(text: bytes) -> Any:
    value = json.loads(text.decode(), parse_float=_finite, parse_constant=_no_constant)
    if b"\\ud" in text.lower():
        try:
            _encode_slowly(value)
        except UnicodeEncodeError:
            raise StrictJsonError(_LONE) from None
    return value


def _encode_slowly(value: object) -> bytes:
    return _encode_thoroughly(value).encode()


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise StrictJsonError(f"the number {text[:24]} does not fit into a float")
    return value


def _no_constant(name: str) -> NoReturn:
    raise StrictJsonError(f"{name} is not JSON")


_decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode if msgspec else _decode_slowly
_encode: Callable[[object], bytes] = msgspec.json.Encoder().encode if msgspec else _encode_slowly
_LIBRARY_ERROR: type[Exception] = msgspec.MsgspecError if msgspec else ValueError


def loads(text: bytes) -> object:
    """Parse one JSON value out of UTF-8 bytes.

    Raises:
        StrictJsonError: See the module's text.

    Example:
        >>> loads(b'{"x": [1, 2.5]}')
        {'x': [1, 2.5]}
        >>> loads(b'{"x": 1, "x": 2}')
        Traceback (most recent call last):
        ...
        mlengine.runtime.strictjson.StrictJsonError: the key "x" is given twice in one object
    """
    try:
        value: object = _decode(text)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        raise StrictJsonError(f"not valid UTF-8 (byte {error.start})") from None
    except (_LIBRARY_ERROR, ValueError) as error:
        raise StrictJsonError(_about(text, str(error).removeprefix("JSON is "))) from None
    _refuse_depth(text)
    if _may_repeat_a_key(text, value) or _MANY_DIGITS in text.translate(_DIGITS_ALIKE):
        _examine(text)
    return value


def dumps(value: object) -> bytes:
    """Write a value as compact JSON in UTF-8.

    Bytes come out as base64, or are refused where `msgspec` is missing: who may have some decides
    first what becomes of them. To look for them here would take longer than writing does.

    Raises:
        StrictJsonError: NaN, an infinity, a lone surrogate, or a type that JSON does not have.
    """
    try:
        written = _encode(value)
        # The fast encoder writes NaN as null. Without a null there was none to hide.
        if b"null" in written:
            _encode_thoroughly(value)
    except RecursionError:
        raise StrictJsonError("the value is nested too deeply for JSON") from None
    except UnicodeEncodeError:
        raise StrictJsonError(_LONE) from None
    except ValueError as error:
        raise StrictJsonError(_about_nan(error)) from None
    except (_LIBRARY_ERROR, TypeError, OverflowError) as error:
        raise StrictJsonError(f"no JSON form: {error}") from None
    return written


def _about(text: bytes, problem: str) -> str:
    """Say what is wrong: to the fast decoder a text with half a pair "was truncated"."""
    if b"\\ud" in text.lower():
        try:
            _decode_slowly(text)
        except StrictJsonError as error:
            return str(error)
        except (ValueError, RecursionError):
            pass
    return problem


def _about_nan(error: ValueError) -> str:
    if "Out of range float" in str(error):
        return "JSON cannot carry NaN or an infinity"
    return str(error)


def _refuse_depth(text: bytes) -> None:
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    if text.count(b'"') > 2:
        text = _STRING.sub(b"", text)
    # Each pass takes the leaves of the tree of brackets away, so passes count its height.
    brackets = text.translate(_BRACES_AS_BRACKETS, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return
    raise _too_deep()


def _too_deep() -> StrictJsonError:
    return StrictJsonError(f"more than {MAX_DEPTH} nested values")


def _may_repeat_a_key(text: bytes, value: object) -> bool:
    """Every key has its own colon: as many colons as distinct keys means none was lost."""
    colons = text.count(b":")
    if isinstance(value, dict) and colons == len(value):
        return False  # the usual request: nothing but lists below the top
    return colons != _count_keys(value)


def _count_keys(value: object) -> int:
    keys = 0
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            keys += len(item)
            rest.extend(v for v in item.values() if isinstance(v, list | dict))
        elif isinstance(item, list):
            rest.extend(v for v in item if isinstance(v, list | dict))
    return keys


def _examine(text: bytes) -> None:
    json.loads(text, object_pairs_hook=_unique, parse_int=_int64, parse_constant=_no_constant)


def _unique(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise StrictJsonError(f'the key "{key[:80]}" is given twice in one object')
        seen.add(key)


def _int64(digits: str) -> int:
    # Length first: Python refuses to read thousands of digits, and reading them takes time.
    if len(digits) > 20 or not _MIN_INT <= int(digits) <= _MAX_INT:
        raise StrictJsonError(f"the integer {digits[:24]} does not fit into 64 bits")
    return int(digits)
