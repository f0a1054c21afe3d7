"""A GET whose URI is too long for its client: it comes as a POST that has the query as a form.

Google's Python client does so beyond 2,048 characters. What such a request may do is decided as if
it had come as the GET that it means: the route, its permission and the refusal of tokens in a query.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Receive, Scope

from mlengine.core.access import check_no_token_in_query
from mlengine.core.errors import InvalidArgument
from mlengine.rest.bodies import Bodies
from mlengine.rest.envelope import UnsupportedMediaType

__all__ = ["as_meant"]

_OVERRIDE = "x-http-method-override"
_FORM = "application/x-www-form-urlencoded"
_OF_THE_BODY = frozenset({b"content-type", b"content-length", b"transfer-encoding"})


async def as_meant(scope: Scope, receive: Receive, bodies: Bodies) -> Scope:
    """Return the scope of the request that is meant; nearly always the one that came.

    Raises:
        InvalidArgument: It overrides its method by another than GET.
        UnsupportedMediaType: Its body is no form.
    """
    request = Request(scope, receive)
    wanted = request.headers.getlist(_OVERRIDE)
    if not wanted:
        return scope
    if scope["method"] != "POST" or [method.upper() for method in wanted] != ["GET"]:
        raise InvalidArgument(
            f"A {scope['method'][:20]} cannot stand for {wanted[0][:20]!r}.",
            "Send the method itself; only a GET with a long query may come as a POST.",
        )
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != _FORM:
        raise UnsupportedMediaType(
            f"The body is declared as {declared[:60]!r}.",
            f"A POST that stands for a GET has the query as its body: '{_FORM}'.",
        )
    form = await bodies.read(request)
    check_no_token_in_query(form.decode("latin-1"))
    return {
        **scope,
        "method": "GET",
        "query_string": b"&".join(part for part in (scope["query_string"], form) if part),
        "headers": [pair for pair in scope["headers"] if pair[0] not in _OF_THE_BODY],
    }
