"""Page sizes and page tokens.

A token holds where the next page starts and a seal over that place *and* what was listed, so a
token of another list, another project or another filter, or one that somebody made up, is refused
instead of being believed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from mlengine.core.errors import InvalidArgument, OutOfRange

__all__ = ["DEFAULT_PAGE_SIZE", "MAX_PAGE_SIZE", "page_size", "page_token", "position"]

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100

_SEAL_BYTES = 12
_MAX_TOKEN_CHARS = 4096


def page_size(requested: int) -> int:
    """Return how many items a page holds: 0 means 20, more than 100 means 100.

    Raises:
        InvalidArgument: It is negative.
    """
    if requested < 0:
        raise InvalidArgument(
            f"The page size {requested} is negative.", "Use 1 to 100.", field="page_size"
        )
    return min(requested, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


def page_token(place: str, *scope: str, key: bytes = b"") -> str:
    """Seal a place in a list.

    Args:
        place: Where the next page starts, in the words of whoever lists: an id, a row number.
        scope: What is listed: kind, project, filter, and whatever else selects the items.
        key: A secret of at most 64 bytes; without one the seal only catches mistakes.

    Example:
        >>> position(page_token("census", "jobs", "p", ""), "jobs", "p", "")
        'census'
    """
    data = place.encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(_seal(data, scope, key) + data).decode().rstrip("=")


def position(token: str, *scope: str, key: bytes = b"") -> str:
    """Open a token made by `page_token`; an empty one is the start of the list, ``""``.

    Raises:
        OutOfRange: It was not made for this list.
    """
    if not token:
        return ""
    if len(token) <= _MAX_TOKEN_CHARS and token.isascii():
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        seal, data = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
        if hmac.compare_digest(seal, _seal(data, scope, key)):
            return data.decode("utf-8", "surrogatepass")
    raise OutOfRange(
        "The page token does not belong to this list.",
        "Repeat the list with the same filter and no page token.",
        field="page_token",
    )


def _seal(data: bytes, scope: tuple[str, ...], key: bytes) -> bytes:
    mac = hashlib.blake2b(key=key[:64], digest_size=_SEAL_BYTES)
    for part in (*(s.encode("utf-8", "surrogatepass") for s in scope), data):
        # Lengths keep ("ab", "c") and ("a", "bc") apart.
        mac.update(len(part).to_bytes(8, "big") + part)
    return mac.digest()
