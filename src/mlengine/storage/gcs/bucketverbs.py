"""Buckets: list, describe, make, remove; who may do what with them is always the same answer."""

from __future__ import annotations

from typing import Any

from mlengine.core.errors import FailedPrecondition, InvalidArgument
from mlengine.core.paging import page_token, position
from mlengine.core.resources import Bucket
from mlengine.storage.backends.folder import FolderBackend
from mlengine.storage.backends.remote import REMOTE_SCHEMES
from mlengine.storage.gcs.conditions import whole_number
from mlengine.storage.gcs.messages import (
    Request,
    Response,
    Unsupported,
    empty,
    json_body,
    json_response,
)
from mlengine.storage.gcs.resources import bucket_resource
from mlengine.storage.gcs.shelving import open_shelf
from mlengine.storage.objects import Buckets

__all__ = [
    "create_bucket",
    "delete_bucket",
    "describe_bucket",
    "granted_permissions",
    "list_buckets",
    "patch_bucket",
]

_MAX_PAGE = 1000
_SHOWN = ("", "file", *REMOTE_SCHEMES)
_SAID = ("kind", "name", "location", "storageClass", "projectNumber", "locationType")
_PERMITTED = (
    "storage.buckets.delete",
    "storage.buckets.get",
    "storage.objects.create",
    "storage.objects.delete",
    "storage.objects.get",
    "storage.objects.list",
    "storage.objects.update",
)


def list_buckets(buckets: Buckets, request: Request) -> Response:
    """Answer one page of the buckets that are folders, or lie in a store that has versions."""
    prefix = request.query.get("prefix", "")
    scope = ("gcs buckets", prefix)
    after = position(request.query.get("pageToken", ""), *scope)
    found = [b for b in buckets.list() if b.name.startswith(prefix) and b.name > after]
    found = [b for b in found if b.backing.partition(":")[0] in _SHOWN]
    room = min(whole_number(request.query, "maxResults") or _MAX_PAGE, _MAX_PAGE)
    page: dict[str, Any] = {"kind": "storage#buckets"}
    if found:
        page["items"] = [bucket_resource(bucket, request.origin) for bucket in found[:room]]
    if len(found) > room:
        page["nextPageToken"] = page_token(found[room - 1].name, *scope)
    return json_response(page, request)


def describe_bucket(buckets: Buckets, name: str, request: Request) -> Response:
    """Answer what a bucket is."""
    open_shelf(buckets, name)
    return json_response(bucket_resource(buckets.get(name), request.origin), request)


def create_bucket(buckets: Buckets, request: Request) -> Response:
    """Make a bucket that is a folder of the engine."""
    body = json_body(request)
    name = body.get("name")
    if not isinstance(name, str):
        raise InvalidArgument("The bucket has no name.", 'Say {"name": …}.', field="name")
    _refuse_others(body)
    bucket = buckets.create(Bucket(name=name))
    return json_response(bucket_resource(bucket, request.origin), request)


def delete_bucket(buckets: Buckets, name: str) -> Response:
    """Remove an empty bucket."""
    open_shelf(buckets, name)
    try:
        if folder := _made_folder(buckets, name):
            raise FailedPrecondition(
                f"The bucket '{name}' is not empty: somebody made the folder '{folder}' in it.",
                "Remove the folder first.",
            )
        buckets.delete(name)
    except FailedPrecondition as error:
        raise NotEmpty(error.problem, error.remedy) from error
    return empty()


def _made_folder(buckets: Buckets, name: str) -> str:
    """Return a folder that somebody made: to who calls this interface it is an object."""
    backend = buckets.backend(name)
    if not isinstance(backend, FolderBackend):
        return ""
    made = sorted(buckets.records(name).folders())
    return next((folder for folder in made if backend.has_folder(folder)), "")


def patch_bucket(buckets: Buckets, name: str, request: Request) -> Response:
    """Refuse by name what a bucket here cannot be; a patch that says nothing new is well."""
    _refuse_others(json_body(request))
    return describe_bucket(buckets, name, request)


def granted_permissions(request: Request) -> Response:
    """Answer which of the permissions asked for the caller has: all that there are here."""
    asked = request.all_values.get("permissions", [])
    granted = [permission for permission in asked if permission in _PERMITTED]
    answer: dict[str, Any] = {"kind": "storage#testIamPermissionsResponse"}
    if granted:
        answer["permissions"] = granted
    return json_response(answer, request)


class NotEmpty(FailedPrecondition):
    """The bucket has objects; Cloud Storage calls that a conflict."""

    http_status = 409


def _refuse_others(body: dict[str, Any]) -> None:
    for field, value in body.items():
        if field not in _SAID and value not in (None, {}, [], False, ""):
            raise Unsupported(f"A bucket here has no {field}.", "Leave it out.", field=field)
    if body.get("storageClass") not in (None, "", "STANDARD"):
        raise Unsupported("A bucket here is always STANDARD.", field="storageClass")
