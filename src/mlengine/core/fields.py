"""The ``fields`` parameter: the caller names what it wants of the answer.

fields=jobs(jobId,state),nextPageToken      fields=models/name      fields=*
"""

from __future__ import annotations

import re
from typing import Any

from mlengine.core.errors import InvalidArgument

__all__ = ["Mask", "parse_fields", "pick"]

Mask = dict[str, Any]
"""Field → mask of what is below it; an empty mask is everything."""

_TOKEN = re.compile(r"\s*([A-Za-z0-9_@.\-]+|\*|[/(),])")
_MAX_CHARS = 4096
_MAX_DEPTH = 20


def parse_fields(text: str) -> Mask:
    """Read a mask.

    Raises:
        InvalidArgument: It is not of the form above, or is too long or too deep.

    Example:
        >>> parse_fields("jobs(jobId,labels/owner),nextPageToken")
        {'jobs': {'jobId': {}, 'labels': {'owner': {}}}, 'nextPageToken': {}}
    """
    tokens: list[str] = []
    at = 0
    stripped = text.strip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None or len(stripped) > _MAX_CHARS:
            raise _bad(text)
        tokens.append(match[1])
        at = match.end()
    if not tokens:
        return {}
    mask, end = _level(tokens, 0, 0, text)
    if end != len(tokens):
        raise _bad(text)
    return mask


def pick(mask: Mask, value: Any) -> Any:
    """Return what a mask leaves of a JSON value; each item of a list alike."""
    if not mask or mask.get("*") == {}:
        return value
    if isinstance(value, list):
        return [pick(mask, item) for item in value]
    if not isinstance(value, dict):
        return value
    if "*" in mask:
        mask = dict.fromkeys(value, mask["*"]) | mask
    return {key: pick(mask[key], item) for key, item in value.items() if key in mask}


def _level(tokens: list[str], at: int, depth: int, text: str) -> tuple[Mask, int]:
    if depth > _MAX_DEPTH:
        raise _bad(text)
    mask: Mask = {}
    while True:
        if at >= len(tokens) or tokens[at] in "/(),":
            raise _bad(text)
        node = mask.setdefault(tokens[at], {})
        at += 1
        while at < len(tokens) and tokens[at] == "/":
            if at + 1 >= len(tokens) or tokens[at + 1] in "/(),":
                raise _bad(text)
            node = node.setdefault(tokens[at + 1], {})
            at += 2
        if at < len(tokens) and tokens[at] == "(":
            inner, at = _level(tokens, at + 1, depth + 1, text)
            if at >= len(tokens) or tokens[at] != ")":
                raise _bad(text)
            node.update(inner)
            at += 1
        if at >= len(tokens) or tokens[at] != ",":
            return mask, at
        at += 1


def _bad(text: str) -> InvalidArgument:
    return InvalidArgument(
        f"Invalid field selection {text[:60]!r}.",
        "Write it like: jobs(jobId,state),nextPageToken.",
        field="fields",
    )
