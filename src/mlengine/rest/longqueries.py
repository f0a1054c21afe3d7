"""A GET whose URI is too long for its client: it comes as a POST that has the query as a form.

Google's Python client does so beyond 2,048 characters. What such a request may do is decided as if
it had come as the GET that it means: by that route, its permission, and no token in the query.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Receive, Scope

from mlengine.core.access import check_no_token_in_query
from mlengine.rest.bodies import Bodies

__all__ = ["as_meant"]

_OVERRIDE = "x-http-method-override"
_FORM = "application/x-www-form-urlencoded"
_OF_THE_BODY = frozenset({b"content-type", b"content-length", b"transfer-encoding"})


async def as_meant(scope: Scope, receive: Receive, bodies: Bodies) -> Scope:
    """Return the scope of the request that is meant; nearly always the one that came.

    A header that names any other method, or comes with any other body, counts for nothing.

    Raises:
        Unauthenticated: The form holds a token.
    """
    request = Request(scope, receive)
    if request.method != "POST" or request.headers.getlist(_OVERRIDE) != ["GET"]:
        return scope
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != _FORM:
        return scope
    form = await bodies.read(request)
    check_no_token_in_query(form.decode("latin-1"))
    return {
        **scope,
        "method": "GET",
        "query_string": b"&".join(part for part in (scope["query_string"], form) if part),
        "headers": [pair for pair in scope["headers"] if pair[0] not in _OF_THE_BODY],
    }
