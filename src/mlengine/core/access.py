"""Who may speak to an engine: the rules for Host, Origin and token, for every face alike.

Pure; the gateway and the engine's own guard apply the same functions, so that no path is judged
twice in two ways. All arguments are *all* values of a header, because a second one is an attack.

    rule      refuses                                    because
    host      a name that is not ours, none, two         DNS rebinding
    origin    a page that we did not serve, any method   a browser sends what any page tells it to
    bearer    no token, another, one in the URL          an open port is a shell
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Sequence
from urllib.parse import parse_qsl

from mlengine.core.errors import PermissionDenied, Unauthenticated

__all__ = [
    "LOOPBACK_HOSTS",
    "bearer_digest",
    "beneath_secret",
    "check_host",
    "check_no_token_in_query",
    "check_origin",
    "is_loopback",
    "is_secret",
    "new_key",
    "new_secret",
    "new_token",
    "token_digest",
    "unknown_bearer",
]

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names that are always this machine, whatever a name server says."""

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::([0-9]{1,5}))?", re.ASCII)
_TOKEN_PARAMETERS = frozenset({"access_token", "oauth_token"})
_OWN_PAGES = frozenset({"same-origin", "none"})
_MAX_TOKEN_CHARACTERS = 1024


def new_token() -> str:
    """Return a fresh access token: 256 random bits, safe in a header, a file name and a shell."""
    return "mle_" + secrets.token_urlsafe(32)


def new_key() -> str:
    """Return a fresh key: as random, and told from a token by how it begins."""
    return "mlk_" + secrets.token_urlsafe(32)


def token_digest(token: str) -> str:
    """Return the SHA-256 of a token in hex: what is kept and compared instead of the token."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on can be reached from this machine only."""
    return host in ("localhost", "127.0.0.1", "::1")


def check_host(values: Sequence[str], allowed: Collection[str]) -> str:
    """Return the authority that the request is addressed to, in lower case.

    Args:
        values: Every ``Host`` header of the request.
        allowed: Further names, in lower case, with a port (then only that) or without.

    Raises:
        PermissionDenied: Not exactly one, malformed, or the name is not this engine's.

    Example:
        >>> check_host(["LOCALHOST:8470"], ())
        'localhost:8470'
    """
    if len(values) != 1:
        count = "none" if not values else str(len(values))
        raise PermissionDenied(
            f"A request needs exactly one Host header; this has {count}.",
            "Send the host and port of the engine's URL.",
        )
    authority = values[0].lower()
    match = _AUTHORITY.fullmatch(authority)
    if match:
        name, port = match[1], match[2]
        if (port is None or int(port) <= 65535) and (
            name in LOOPBACK_HOSTS or name in allowed or authority in allowed
        ):
            return authority
    raise PermissionDenied(
        f"This engine does not answer to the host name {values[0][:80]!r}.",
        "Use 'localhost', or add the name to the setting 'allowed_hosts'.",
    )


def check_origin(
    origin: Sequence[str], sec_fetch_site: Sequence[str], allowed: Collection[str]
) -> None:
    """Refuse what a browser sends for a page of somebody else, on every method.

    Args:
        origin: Every ``Origin`` header.
        sec_fetch_site: Every ``Sec-Fetch-Site`` header.
        allowed: Authorities in lower case, such as ``localhost:8470``, whose pages may call: that
            of the request's own Host, which was checked before, and configured ones.

    Raises:
        PermissionDenied: The page is another's, its origin is ``null``, or a header came twice.
    """
    if not origin and not sec_fetch_site:
        return
    foreign = any(site.lower() not in _OWN_PAGES for site in sec_fetch_site)
    if foreign or len(origin) > 1 or len(sec_fetch_site) > 1:
        raise _foreign_page()
    if origin:
        scheme, separator, authority = origin[0].lower().partition("://")
        if scheme not in ("http", "https") or not separator or authority not in allowed:
            raise _foreign_page()


def bearer_digest(authorization: Sequence[str]) -> str:
    """Return the `token_digest` of the token that a request brings.

    Args:
        authorization: Every ``Authorization`` header.

    Raises:
        Unauthenticated: There is none, or no bearer token in it.
    """
    if len(authorization) != 1:
        count = "no" if not authorization else "more than one"
        raise _unauthenticated(f"The request has {count} Authorization header.")
    scheme, _space, token = authorization[0].partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token or len(token) > _MAX_TOKEN_CHARACTERS:
        raise _unauthenticated("The Authorization header holds no bearer token.")
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def unknown_bearer() -> Unauthenticated:
    """Return the error for a token that is neither the engine's nor a key's."""
    return _unauthenticated("The request's token is not this engine's.")


def new_secret() -> str:
    """Return a fresh secret of 192 random bits that may stand in a URL's path."""
    return secrets.token_urlsafe(24)


def is_secret(given: bytes, secret: bytes) -> bool:
    """Tell whether somebody knows a secret, in a time that says nothing about it."""
    return hmac.compare_digest(given, secret)


def beneath_secret(path: str, prefix: str) -> str | None:
    """Return what follows a secret that paths must begin with, in a time that says nothing.

    Args:
        path: As it was asked for.
        prefix: ``/SECRET``; empty where none is asked for.

    Returns:
        The rest, from its slash on; None for a path without the secret.

    Example:
        >>> beneath_secret("/s3cret/b/data", "/s3cret"), beneath_secret("/b/data", "/s3cret")
        ('/b/data', None)
    """
    own, rest = path[: len(prefix)], path[len(prefix) :]
    return rest if is_secret(own.encode(), prefix.encode()) and rest.startswith("/") else None


def check_no_token_in_query(query: str) -> None:
    """Refuse a token in the URL, right or wrong: URLs end in logs, histories and referrers.

    Raises:
        Unauthenticated: The query has ``access_token`` or ``oauth_token``.
    """
    if "token" not in query and "%" not in query:
        return
    names = {name for name, _value in parse_qsl(query, keep_blank_values=True)}
    if names & _TOKEN_PARAMETERS:
        raise _unauthenticated("A token does not belong in a URL.")


def _foreign_page() -> PermissionDenied:
    return PermissionDenied(
        "The request comes from a web page that this engine did not serve.",
        "Call the API from a program, or from the engine's own pages.",
    )


def _unauthenticated(problem: str) -> Unauthenticated:
    return Unauthenticated(
        problem, "Send 'Authorization: Bearer TOKEN'; 'mlengine auth print-access-token' prints it."
    )
