"""Uploads in one request, ``media`` or ``multipart``, and the beginning of resumable ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from mlengine.core.batches import boundary_of
from mlengine.core.errors import InvalidArgument
from mlengine.storage.gcs.conditions import Conditions
from mlengine.storage.gcs.digests import Expected, weighed
from mlengine.storage.gcs.messages import (
    Request,
    Response,
    Unsupported,
    decode_object,
    empty,
    json_body,
    json_response,
)
from mlengine.storage.gcs.multiparts import MultipartReader
from mlengine.storage.gcs.resources import object_resource, read_record
from mlengine.storage.gcs.sessions import Sessions, UploadPlan
from mlengine.storage.gcs.shelves import Shelf, Stored
from mlengine.storage.records import ObjectRecord

__all__ = ["store_object", "upload"]

_REFUSED = ("kmsKeyName", "predefinedAcl")


def upload(shelf: Shelf, sessions: Sessions, request: Request) -> Response:
    """Answer ``POST /upload/storage/v1/b/BUCKET/o``."""
    for name in _REFUSED:
        if request.query.get(name):
            raise Unsupported(f"These buckets have no {name}.", "Leave it out.", field=name)
    kind = request.query.get("uploadType", "")
    if kind == "resumable":
        return _begin(shelf, sessions, request)
    if kind == "media":
        return _media(shelf, request)
    if kind == "multipart":
        return _multipart(shelf, request)
    raise InvalidArgument(
        f"The upload type {kind[:40]!r} is unknown.",
        "Use media, multipart or resumable.",
        field="uploadType",
    )


def _media(shelf: Shelf, request: Request) -> Response:
    said = {"contentEncoding": request.query.get("contentEncoding", "")}
    record = read_record(said, content_type=request.headers.get("content-type", ""))
    stored = store_object(
        shelf,
        _name(request, {}),
        request.body,
        record,
        Conditions.of(request.query, request.headers),
        Expected.of(request.headers, {}),
    )
    return json_response(object_resource(stored, request.origin), request)


def _multipart(shelf: Shelf, request: Request) -> Response:
    boundary = boundary_of(request.headers.get("content-type", ""))
    parts = MultipartReader(request.body, boundary)
    resource = decode_object(parts.small_part())
    content_type, body = parts.last_part()
    stored = store_object(
        shelf,
        _name(request, resource),
        body,
        read_record(resource, content_type=content_type),
        Conditions.of(request.query, request.headers),
        Expected.of(request.headers, resource),
    )
    return json_response(object_resource(stored, request.origin), request)


def _begin(shelf: Shelf, sessions: Sessions, request: Request) -> Response:
    resource = json_body(request)
    name = _name(request, resource)
    conditions = Conditions.of(request.query, request.headers)
    shelf.check(name, conditions)
    content_type = request.headers.get("x-upload-content-type", "")
    length = request.headers.get("x-upload-content-length", "")
    if length and not (length.isascii() and length.isdigit()):
        raise InvalidArgument("The length is no number.", field="X-Upload-Content-Length")
    plan = UploadPlan(
        shelf,
        name,
        read_record(resource, content_type=content_type),
        conditions,
        Expected.of({}, resource),
        int(length) if length else None,
    )
    key = sessions.begin(plan)
    place = f"{request.origin}/upload/storage/v1/b/{shelf.bucket}/o"
    query = f"uploadType=resumable&name={quote(name, safe='')}&upload_id={key}"
    return empty(200, {"Location": f"{place}?{query}", "X-GUploader-UploadID": key})


def store_object(
    shelf: Shelf,
    name: str,
    chunks: Iterable[bytes],
    record: ObjectRecord,
    conditions: Conditions,
    expected: Expected = Expected(),  # noqa: B008  a tuple
) -> Stored:
    """Write one object whole, or a folder when the name ends in a slash."""
    shelf.check(name, conditions)  # before the bytes, not only behind them
    if name.endswith("/"):
        for chunk in chunks:
            if chunk:
                raise _folder_with_bytes(name)
        return shelf.make_folder(name, record, conditions)
    with contextlib.closing(shelf.draft(name)) as draft:
        for chunk in chunks:
            draft.append(chunk)
        return shelf.commit(draft, weighed(draft, record, expected), conditions)


def _name(request: Request, resource: Mapping[str, Any]) -> str:
    name = request.query.get("name") or resource.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidArgument("The upload names no object.", "Say name=….", field="name")
    return name


def _folder_with_bytes(name: str) -> InvalidArgument:
    return InvalidArgument(
        f"{name[:200]!r} ends in a slash: it is a folder and holds no bytes.",
        "Choose a name without the slash.",
        field="name",
    )
