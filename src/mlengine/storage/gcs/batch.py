"""``POST /batch/storage/v1``: up to a thousand requests in one, answered in their order."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from mlengine.core.batches import Part, boundary_of, gathered, read_batch, write_batch
from mlengine.core.errors import EngineError, PermissionDenied
from mlengine.storage.gcs.messages import Request, Response, error_response

__all__ = ["answer_batch"]


def answer_batch(
    request: Request,
    handle: Callable[[Request], Response],
) -> Response:
    """Answer each part by `handle`; an upload or download is none that a batch may have."""
    boundary = boundary_of(request.headers.get("content-type", ""))
    parts = read_batch(gathered(request.body), boundary)
    kind, body = write_batch(_answered(part, request, handle) for part in parts)
    return Response(200, {"Content-Type": kind}, [body], len(body))


def _answered(
    part: Part,
    outer: Request,
    handle: Callable[[Request], Response],
) -> tuple[str, int, dict[str, str], bytes]:
    try:
        response = handle(_request(part, outer))
    except EngineError as error:
        response = error_response(error)
    return part.key, response.status, dict(response.headers), b"".join(response.body)


def _request(part: Part, outer: Request) -> Request:
    method, where, headers, body = part.read()
    path = where.path.removeprefix(urlsplit(outer.origin).path)
    request = Request(method, path, where.query, headers, [body], outer.origin)
    if not path.startswith("/storage/v1/") or request.query.get("alt") == "media":
        raise PermissionDenied("A batch has no uploads, downloads or batches in it.")
    return request
