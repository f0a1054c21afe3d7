"""`GcsApi`: which request is which verb. Paths are split before they are decoded, never after."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import unquote

from mlengine.core.errors import EngineError, Internal, InvalidArgument, NotFound
from mlengine.storage.gcs import bucketverbs, objectverbs
from mlengine.storage.gcs.batch import answer_batch
from mlengine.storage.gcs.listing import list_objects
from mlengine.storage.gcs.media import download
from mlengine.storage.gcs.messages import BrokenBody, Request, Response, Unsupported, error_response
from mlengine.storage.gcs.sessions import Sessions
from mlengine.storage.gcs.shelves import Shelf
from mlengine.storage.gcs.shelving import open_shelf
from mlengine.storage.gcs.uploads import upload
from mlengine.storage.objects import Buckets

__all__ = ["GcsApi"]

_log = logging.getLogger(__name__)


class GcsApi:
    """Cloud Storage's JSON API over our buckets. Thread-safe; calls block on disks and networks.

    Args:
        buckets: The buckets to show. All are shown: whoever reaches the API may do anything.
    """

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._sessions = Sessions()

    def handle(self, request: Request) -> Response:
        """Answer a request; every failure is an answer too.

        Whoever serves it closes the response's body if that can be closed, and reads what is left
        of the request's.

        Raises:
            BrokenBody: The request's body did, for its caller has gone.
        """
        try:
            return self._route(request)
        except EngineError as error:
            return error_response(error)
        except BrokenBody:
            raise  # nobody is left to answer
        except Exception:
            _log.exception("answering %s %s", request.method, request.path)
            return error_response(Internal("Internal error encountered."))

    def close(self) -> None:
        """Throw unfinished uploads away."""
        self._sessions.close()

    # --- routes ---------------------------------------------------------------------------------

    def _route(self, request: Request) -> Response:
        parts = [_decoded(part) for part in request.path.split("/")[1:]]
        match parts:
            case ["storage", "v1", *rest]:
                return self._storage(request, rest)
            case ["upload" | "resumable", "storage", "v1", "b", bucket, "o"]:
                return self._upload(request, bucket)
            case ["resumable", "upload", "storage", "v1", "b", bucket, "o"]:
                return self._upload(request, bucket)
            case ["download", "storage", "v1", "b", bucket, "o", *name]:
                return self._media(request, bucket, "/".join(name))
            case ["batch", "storage", "v1"] | ["batch"] if request.method == "POST":
                return answer_batch(request, self.handle)
            case [bucket, *name] if any(name) and self._may_be(bucket):
                return self._media(request, bucket, "/".join(name))
        raise _unknown(request)

    def _may_be(self, bucket: str) -> bool:
        """Whether a path may begin with a bucket; of the API's own words only one that is there."""
        return bucket not in _API_WORDS or any(b.name == bucket for b in self._buckets.list())

    def _storage(self, request: Request, parts: Sequence[str]) -> Response:
        buckets = self._buckets
        match (request.method, *parts):
            case ("GET" | "HEAD", "b"):
                return bucketverbs.list_buckets(buckets, request)
            case ("POST", "b"):
                return bucketverbs.create_bucket(buckets, request)
            case ("GET" | "HEAD", "b", bucket):
                return bucketverbs.describe_bucket(buckets, bucket, request)
            case ("DELETE", "b", bucket):
                return bucketverbs.delete_bucket(buckets, bucket)
            case ("PATCH" | "PUT", "b", bucket):
                return bucketverbs.patch_bucket(buckets, bucket, request)
            case ("GET", "b", bucket, "iam", "testPermissions"):
                open_shelf(buckets, bucket)
                return bucketverbs.granted_permissions(request)
            case ("GET" | "HEAD", "b", bucket, "o"):
                return list_objects(open_shelf(buckets, bucket), request)
            case (_, "b", bucket, "o", name, *verb) if name:
                return self._object(request, open_shelf(buckets, bucket), name, verb)
            case (_, "b", _, word, *_) if word in _NOT_HERE:
                raise Unsupported(f"Buckets here have no {word}.", "Leave it out.")
        raise _unknown(request)

    def _object(self, request: Request, shelf: Shelf, name: str, verb: Sequence[str]) -> Response:
        match (request.method, *verb):
            case ("GET" | "HEAD",) if request.query.get("alt") == "media":
                return download(shelf, name, request)
            case ("GET" | "HEAD",):
                return objectverbs.describe_object(shelf, name, request)
            case ("PATCH" | "PUT",):
                return objectverbs.patch_object(shelf, name, request)
            case ("DELETE",):
                return objectverbs.delete_object(shelf, name, request)
            case ("POST", "compose"):
                return objectverbs.compose_object(shelf, name, request)
            case ("POST", "copyTo", "b", bucket, "o", to) if to:
                target = open_shelf(self._buckets, bucket)
                return objectverbs.copy_object(shelf, name, target, to, request)
            case ("POST", "rewriteTo", "b", bucket, "o", to) if to:
                target = open_shelf(self._buckets, bucket)
                return objectverbs.rewrite_object(shelf, name, target, to, request)
            case ("POST", "moveTo", "o", to) if to:
                return objectverbs.move_object(shelf, name, to, request)
            case (_, word, *_) if word in _NOT_HERE:
                raise Unsupported(f"Objects here have no {word}.", "Leave it out.")
        raise _unknown(request)

    def _upload(self, request: Request, bucket: str) -> Response:
        key = request.query.get("upload_id", "")
        if key and request.method in ("PUT", "POST"):
            return self._sessions.put(key, request)
        if key and request.method == "DELETE":
            return self._sessions.cancel(key)
        if request.method in ("POST", "PUT"):
            return upload(open_shelf(self._buckets, bucket), self._sessions, request)
        raise _unknown(request)

    def _media(self, request: Request, bucket: str, name: str) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise Unsupported(
                f"{request.method} of /BUCKET/OBJECT is the XML API, which only reads here.",
                "Use the JSON API.",
            )
        return download(open_shelf(self._buckets, bucket), name, request)


_API_WORDS = ("storage", "upload", "download", "batch", "resumable")
_NOT_HERE = (
    "acl", "anywhereCaches", "defaultObjectAcl", "folders", "iam", "lockRetentionPolicy",
    "managedFolders", "notificationConfigs", "restore", "storageLayout",
)  # fmt: skip


def _decoded(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"The path {part[:80]!a} is not UTF-8.") from error


def _unknown(request: Request) -> NotFound:
    return NotFound(
        f"{request.method} {request.path[:200]} is nothing that these buckets answer.",
        "They speak Cloud Storage's JSON API, v1.",
    )
