"""Which version a prediction goes to: pure rules, the same for the gateway and an embedded engine.

The numbers from 0 to 2**32 are cut into segments, one or more a version. A value (of a header or a
field) is hashed to such a number, so it stays with its version for as long as its segment does.
When the weights change, the versions that shrink give of their segments to those that grow, and
nothing else moves: `reapportion`. Whoever has no value is drawn by chance.
"""

from __future__ import annotations

import bisect
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from mlengine.core.errors import InvalidArgument

__all__ = [
    "WHOLE",
    "check_sticky_by",
    "check_weights",
    "choose",
    "field_reader",
    "position",
    "reapportion",
]

WHOLE = 1 << 32
"""Where the last segment ends."""

Segments = Sequence[tuple[int, str]]
"""Where each segment ends, and the version that it is of; each begins where the last one ended."""

_MOST_ARMS = 20
_MOST_PARTS = 1_000_000
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_FIELD = re.compile(r"[^\\\"\x00-\x1f]{1,100}")
_TWO_WORDS = struct.Struct("<IQ")


def check_weights(weights: Mapping[str, int], *, field: str) -> None:
    """Refuse parts that cannot be shared out.

    Raises:
        InvalidArgument: Negative or too large, or all of them zero, or too many versions.
    """
    for version, parts in weights.items():
        if not 0 <= parts <= _MOST_PARTS:
            raise InvalidArgument(
                f"The version '{version}' is to get {parts} parts.",
                f"Give it 0 to {_MOST_PARTS}.",
                field=field,
            )
    if len(weights) > _MOST_ARMS:
        raise InvalidArgument(f"{len(weights)} versions are too many.", f"At most {_MOST_ARMS}.",
                              field=field)  # fmt: skip
    if weights and not any(weights.values()):
        raise InvalidArgument(
            "No version of the split gets anything.", "Give one a part of at least 1.", field=field
        )


def check_sticky_by(text: str, *, field: str) -> None:
    """Refuse what names neither a header nor a field of the body."""
    kind, _colon, name = text.partition(":")
    if kind == "header" and _HEADER.fullmatch(name):
        return
    if kind == "field" and _FIELD.fullmatch(name) and name != "instances":
        return
    raise InvalidArgument(
        f"{text[:120]!r} is no key to stick by.",
        "Name a header or a field of the body: 'header:X-User' or 'field:user_id'.",
        field=field,
    )


def reapportion(segments: Segments, weights: Mapping[str, int]) -> list[tuple[int, str]]:
    """Cut the whole anew by other weights, moving no more than must move.

    Args:
        segments: As it is cut now; empty for the first time.
        weights: Version → its parts of the whole; their sum is not 0.

    Returns:
        Segments in which each version has its exact share. A number changes hands only from a
        version that shrinks to one that grows.

    Example:
        >>> reapportion([(WHOLE, "v1")], {"v1": 3, "v2": 1})
        [(3221225472, 'v1'), (4294967296, 'v2')]
    """
    sizes = _sizes(weights)
    if not segments:
        segments = [(WHOLE, next(iter(weights)))]
    left = dict(sizes)
    cut: list[tuple[int, str | None]] = []  # None: given up, to be given to those that grow
    begin = 0
    for end, version in segments:
        kept = min(end - begin, left.get(version, 0))
        if kept:
            left[version] -= kept
            cut.append((begin + kept, version))
        if begin + kept < end:
            cut.append((end, None))
        begin = end
    growing = [(version, size) for version, size in left.items() if size]
    return _merged(_filled(cut, growing))


def choose(segments: Segments, number: int) -> str:
    """Return the version in whose segment a number below `WHOLE` lies.

    Example:
        >>> choose([(10, "v1"), (WHOLE, "v2")], 10)
        'v2'
    """
    return segments[bisect.bisect_right(segments, number, key=_end)][1]


def position(salt: str, value: str) -> tuple[int, int]:
    """Hash a value: to its place in the whole, and to a number that stands for it in an id.

    The two are independent. The salt keeps one experiment's halves from being the next one's.
    """
    digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=12,
                     key=salt.encode()[:64]).digest()  # fmt: skip
    place, name = _TWO_WORDS.unpack(digest)
    return place, name


def field_reader(name: str) -> Callable[[bytes], str]:
    """Return what finds a field's value in a predict body; empty when there is none.

    A key beside ``instances`` counts first; without one, that key of the first instance. Text and
    numbers are compared by what they show, so ``7`` and ``"7"`` are one user; ``null`` is missing.

    Example:
        >>> read = field_reader("user_id")
        >>> read(b'{"instances": [{"user_id": 7, "x": 1}, {"user_id": 8}]}')
        '7'
    """
    body = _struct("Body", name, instances=True)
    row = _struct("Row", name, instances=False)
    of_body, of_row = msgspec.json.Decoder(body), msgspec.json.Decoder(row)
    rows = msgspec.json.Decoder(list[msgspec.Raw])

    def read(data: bytes) -> str:
        try:
            found = of_body.decode(data)
            value = _shown(found.value)
            if value or found.instances is msgspec.UNSET:
                return value
            first = rows.decode(found.instances)[:1]
            return _shown(of_row.decode(first[0]).value) if first else ""
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ""  # whatever is wrong with it, the version says

    return read


def _struct(title: str, name: str, *, instances: bool) -> Any:
    optional = msgspec.Raw | msgspec.UnsetType
    fields: list[Any] = [("value", optional, msgspec.field(name=name, default=msgspec.UNSET))]
    if instances:
        fields.append(("instances", optional, msgspec.UNSET))
    return msgspec.defstruct(title, fields)


def _shown(raw: msgspec.Raw | msgspec.UnsetType) -> str:
    if raw is msgspec.UNSET:
        return ""
    data = bytes(raw)
    if data.startswith(b'"'):
        return msgspec.json.decode(data, type=str)
    return "" if data == b"null" else data.decode()


def _sizes(weights: Mapping[str, int]) -> dict[str, int]:
    """Share out the whole; what rounding leaves goes to the first versions that get anything."""
    total = sum(weights.values())
    sizes = {version: WHOLE * parts // total for version, parts in weights.items()}
    rest = WHOLE - sum(sizes.values())
    for version in [version for version, parts in weights.items() if parts][:rest]:
        sizes[version] += 1
    return sizes


def _filled(
    cut: Sequence[tuple[int, str | None]], growing: list[tuple[str, int]]
) -> list[tuple[int, str]]:
    filled: list[tuple[int, str]] = []
    begin = 0
    for end, version in cut:
        while version is None and begin < end:
            taker, wanted = growing.pop(0)
            taken = min(wanted, end - begin)
            begin += taken
            filled.append((begin, taker))
            if wanted > taken:
                growing.insert(0, (taker, wanted - taken))
        if version is not None:
            filled.append((end, version))
        begin = end
    return filled


def _merged(segments: Segments) -> list[tuple[int, str]]:
    merged: list[tuple[int, str]] = []
    for end, version in segments:
        if merged and merged[-1][1] == version:
            merged.pop()
        merged.append((end, version))
    return merged


def _end(segment: tuple[int, str]) -> int:
    return segment[0]
