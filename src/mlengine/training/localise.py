"""``gs://`` in what a replica is given becomes a real path, so that any library can open it."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["localise"]

# A URI starts the argument, or follows `=` or a comma, as in `--files=gs://a/x,gs://a/y`.
_URI = re.compile(r"(?:(?<=^)|(?<=[=,]))gs://[^,\s]+")


def localise(argument: str, resolve: Callable[[str], str | None]) -> str:
    """Replace each ``gs://`` URI in one argument by what `resolve` says, if it says anything.

    Args:
        argument: One element of `args`, taken verbatim otherwise.
        resolve: Returns the real path of a URI in a folder-backed bucket, None for any other.

    Example:
        >>> localise("--files=gs://b/x,gs://b/y", lambda uri: uri.replace("gs://", "/buckets/"))
        '--files=/buckets/b/x,/buckets/b/y'
    """

    def real(match: re.Match[str]) -> str:
        return resolve(match.group()) or match.group()

    return _URI.sub(real, argument)
