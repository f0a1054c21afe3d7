"""The query string: what a route declares, and what every Google API understands."""

from __future__ import annotations

import urllib.parse
from typing import NamedTuple

from mlengine.core.errors import InvalidArgument
from mlengine.core.fields import Mask, parse_fields
from mlengine.core.wire import camel

__all__ = ["SYSTEM_PARAMETERS", "Query", "parse_query"]

SYSTEM_PARAMETERS = (
    "$.xgafv", "access_token", "alt", "callback", "fields", "key", "oauth_token", "prettyPrint",
    "quotaUser", "uploadType", "upload_protocol",
)  # fmt: skip

_MAX_BYTES = 32 * 1024
_MAX_PARAMETERS = 64


class Query(NamedTuple):
    """A query, read.

    Attributes:
        own: The route's own parameters, by their declared names.
        fields: Which parts of the answer are wanted; empty for all.
        pretty: Whether the answer is indented.
    """

    own: dict[str, str]
    fields: Mask
    pretty: bool


def parse_query(raw: bytes, declared: tuple[str, ...]) -> Query:
    """Read a query string; ``update_mask`` is accepted for ``updateMask``, and so on.

    ``key`` and ``quotaUser`` are read over: only the Authorization header says who calls. The
    guard has refused tokens in the query before, because addresses end up in logs.

    Raises:
        InvalidArgument: It is too long, not UTF-8, repeats a parameter, or has one that neither
            the route nor the system knows.
    """
    if len(raw) > _MAX_BYTES:
        raise InvalidArgument(f"The query is longer than {_MAX_BYTES} bytes.", "Ask for less.")
    try:
        pairs = urllib.parse.parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:
        raise InvalidArgument(
            "The query is not percent-encoded UTF-8.", f"Use at most {_MAX_PARAMETERS} parameters."
        ) from None
    own: dict[str, str] = {}
    system: dict[str, str] = {}
    for key, value in pairs:
        known = system if key in SYSTEM_PARAMETERS else own
        name = key if key in declared or key in SYSTEM_PARAMETERS else camel(key)
        if known is own and name not in declared:
            raise _unknown(key)
        if name in known:
            raise InvalidArgument(f"The query parameter {key!r} is given twice.", "Give it once.")
        known[name] = value
    _check_system(system)
    fields = parse_fields(system.get("fields", ""))
    return Query(own, fields, system.get("prettyPrint", "true") != "false")


def _check_system(system: dict[str, str]) -> None:
    if system.get("alt", "json") != "json":
        raise InvalidArgument(f"Invalid value at 'alt': {system['alt'][:20]!r}.", "Use alt=json.")
    if "callback" in system:
        raise InvalidArgument("JSONP is not offered.", "Leave 'callback' out.")
    if system.get("$.xgafv", "2") not in ("1", "2"):
        raise InvalidArgument(f"Invalid value at '$.xgafv': {system['$.xgafv'][:20]!r}.", "Use 2.")
    if system.get("prettyPrint", "true") not in ("true", "false"):
        raise InvalidArgument("Invalid value at 'prettyPrint'.", "Use true or false.")


def _unknown(key: str) -> InvalidArgument:
    shown = key[:60]
    return InvalidArgument(
        f'Invalid JSON payload received. Unknown name "{shown}": Cannot bind query parameter. '
        f"Field '{shown}' could not be found in request message."
    )
