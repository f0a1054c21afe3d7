"""Who answers a request: our buckets, or the host that the caller believes to talk to."""

from __future__ import annotations

import dataclasses
import http.client
import re
import urllib.parse

from mlengine.core.errors import EngineError, Unavailable
from mlengine.storage.gcs import GcsApi, Request, Response
from mlengine.storage.gcs.batch import answer_batch
from mlengine.storage.gcs.messages import Unsupported, error_response
from mlengine.storage.objects import Buckets
from mlengine.storage.sidecar.accounts import TOKEN_PATH, answer_token
from mlengine.storage.sidecar.certificates import INTERCEPTED
from mlengine.storage.sidecar.foreign import forward

__all__ = ["HostApi"]

_STORAGE, _APIS = INTERCEPTED
_VERB = "(?:upload|download|resumable|resumable/upload|batch)"
_OF_A_BUCKET = re.compile(rf"/(?:{_VERB}/)?storage/v1/b/([^/]+)")
_BATCH = re.compile(r"/batch(?:/storage/v1)?")
_OF_STORAGE = re.compile(rf"/(?:{_VERB}/)?storage/v1(?:/|$)|/batch$")


class HostApi:
    """The API as one host name shows it.

    Args:
        api: Our buckets.
        buckets: Which there are.
        host: The name that the caller connected to.
    """

    def __init__(self, api: GcsApi, buckets: Buckets, host: str = _STORAGE) -> None:
        self._api, self._buckets, self._host = api, buckets, host

    def handle(self, request: Request) -> Response:
        """Answer a request, or have it answered."""
        try:
            if self._host in INTERCEPTED and request.method == "POST":
                if _BATCH.fullmatch(request.path):
                    return self._batch(request)
                self._check_copy(request.path)
        except EngineError as error:
            return error_response(error)
        bucket = self._bucket(request.path)
        if bucket == "" or (bucket and self._is_ours(bucket)):
            return self._api.handle(self._in_path(request))
        what = f"gs://{bucket}/" if bucket else f"https://{self._host}{request.path}"
        try:
            if self._host == _APIS and request.path == TOKEN_PATH:
                answer, request = answer_token(request)
                if answer is not None:
                    return answer
            return forward(request, self._host, what=what)
        except EngineError as error:
            return error_response(error)

    def _batch(self, request: Request) -> Response:
        """Answer each part by who has its bucket."""
        whose = {k: v for k, v in request.headers.items() if k == "authorization"}

        def answered(part: Request) -> Response:
            # Of a part only its own length is true, and its answer is not unpacked by anybody.
            body = b"".join(part.body).strip()
            headers = {**whose, **part.headers, "content-length": str(len(body))}
            for name in ("accept-encoding", "transfer-encoding"):
                headers.pop(name, None)
            answer = self.handle(dataclasses.replace(part, headers=headers, body=[body]))
            try:
                return dataclasses.replace(answer, body=[b"".join(answer.body)])
            except (OSError, http.client.HTTPException):
                raise Unavailable(
                    f"The answer to {part.path[:200]} broke off.", "Try again."
                ) from None

        return answer_batch(request, answered)

    def _check_copy(self, path: str) -> None:
        """Refuse a copy between an engine's bucket and the real service's: neither has both."""
        match [urllib.parse.unquote(part) for part in path.split("/")[1:]]:
            case ["storage", "v1", "b", source, "o", _, "copyTo" | "rewriteTo", "b", target, *_]:
                if self._is_ours(source) != self._is_ours(target):
                    raise Unsupported(
                        f"gs://{source}/ and gs://{target}/ are not of one service: only one of "
                        "them is this engine's.",
                        "Download the object, then upload it.",
                    )

    def _bucket(self, path: str) -> str | None:
        """Return the bucket that a path names; empty: of no single one; None: not storage."""
        if self._host not in INTERCEPTED:
            return self._bucket_of_host()
        if match := _OF_A_BUCKET.match(path):
            return urllib.parse.unquote(match.group(1))
        if _OF_STORAGE.match(path):
            return ""
        if self._host == _APIS:
            return None
        return urllib.parse.unquote(path.split("/")[1])

    def _in_path(self, request: Request) -> Request:
        """Move a bucket that the host's name says to where the API looks for it."""
        if self._host in INTERCEPTED:
            return request
        return dataclasses.replace(request, path=f"/{self._bucket_of_host()}{request.path}")

    def _bucket_of_host(self) -> str:
        return self._host.lower().rstrip(".").removesuffix("." + _STORAGE)

    def _is_ours(self, bucket: str) -> bool:
        try:
            self._buckets.get(bucket)
        except EngineError:
            return False
        return True
