"""Google Cloud Storage as a `RemoteStore`: its JSON API, generations and all.

    small object    one multipart request
    large object    a resumable upload: chunk after chunk; only the last one shows the object

After a chunk's connection broke, Google is asked how much it has, and the upload goes on there. An
emulator (``STORAGE_EMULATOR_HOST``) is not: fake-gcs-server takes that question for the end of the
upload, and would show half an object. There the upload begins anew, which is slower and as right.
"""

from __future__ import annotations

import datetime
import json
import re
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3

from mlengine.core.errors import Aborted, Unavailable
from mlengine.storage.backends.gcswire import Broken, Wire
from mlengine.storage.backends.remotes import (
    IN_ONE_CALL_BYTES,
    ByteStream,
    Naming,
    RemoteObject,
    RemoteStore,
    Spool,
    refusal,
)
from mlengine.storage.records import ObjectRecord

__all__ = ["GcsStore"]

_PAGE = 1000
_CHUNK_BYTES = 8 << 20  # a multiple of 256 KiB, as the API wants it
_FIELDS = (
    "name,size,updated,generation,metageneration,contentType,contentEncoding,contentDisposition,"
    "contentLanguage,cacheControl,customTime,metadata,md5Hash,crc32c,componentCount"
)
_SAID = {
    "contentType": "content_type", "contentEncoding": "content_encoding",
    "contentDisposition": "content_disposition", "contentLanguage": "content_language",
    "cacheControl": "cache_control", "customTime": "custom_time",
}  # fmt: skip
_RECEIVED = re.compile(r"bytes=0-(\d+)")
_ANEW = 6


class GcsStore:
    """One bucket, or what lies beneath a prefix of it.

    Args:
        bucket: Google's name of it.
        base: Prefix, empty or ending in a slash.
        naming: What an object is called in messages.
        resumes: Whether the server can be asked how much of an upload it has.
    """

    def __init__(
        self, bucket: str, base: str, naming: Naming, *, resumes: bool | None = None
    ) -> None:
        self._bucket, self._base, self._naming = bucket, base, naming
        self._wire = Wire()
        self._resumes = not self._wire.is_emulator if resumes is None else resumes

    # --- reading --------------------------------------------------------------------------------

    def pages(
        self, prefix: str, *, after: str = "", is_shallow: bool = False
    ) -> Iterator[list[RemoteObject]]:
        query = {
            "prefix": self._base + prefix,
            "maxResults": str(_PAGE),
            "fields": f"nextPageToken,prefixes,items({_FIELDS})",
        }
        if is_shallow:
            query["delimiter"] = "/"
        if after:
            query["startOffset"] = self._base + after
        while True:
            answer, _again = self._wire.ask_again(
                "GET", f"/storage/v1/b/{self._bucket}/o", query, what=self._naming(prefix)
            )
            said = self._said(answer, self._naming(prefix))
            rows = [self._object(item) for item in said.get("items", [])]
            rows += [_common(name.removeprefix(self._base)) for name in said.get("prefixes", [])]
            page = sorted((r for r in rows if r.name > after), key=lambda row: row.name)
            if page:
                yield page
            if not said.get("nextPageToken"):
                return
            query["pageToken"] = said["nextPageToken"]

    def head(self, name: str) -> RemoteObject:
        answer, _again = self._wire.ask_again(
            "GET", self._path(name), {"fields": _FIELDS}, what=self._naming(name)
        )
        return self._object(self._said(answer, self._naming(name)))

    def read(self, found: RemoteObject, offset: int) -> ByteStream:
        what = self._naming(found.name)
        answer, _again = self._wire.ask_again(
            "GET", "/download" + self._path(found.name),
            {"alt": "media", "generation": str(found.generation)},
            headers={"Range": f"bytes={offset}-"} if offset else None,
            what=what, is_streamed=True,
        )  # fmt: skip
        if answer.status not in (200, 206) or (offset and answer.status != 206):
            answer.close()  # its connection holds what nobody reads
            if answer.status == 404:
                raise Aborted(f"{what} was replaced or removed while it was read.", "Read again.")
            raise refusal(answer.status, what)
        return _Stream(answer, what)

    # --- changing -------------------------------------------------------------------------------

    def put(
        self, name: str, spool: Spool, record: ObjectRecord, *, only_if: str | None = None
    ) -> RemoteObject:
        query = {"name": self._base + name, "fields": _FIELDS, **_guard(only_if)}
        send = self._put_whole if spool.size <= IN_ONE_CALL_BYTES else self._put_in_chunks
        answer, may_have_counted = send(name, spool, _resource(record, spool), query)
        what = self._naming(name)
        if answer.status == 412 and may_have_counted:
            # Of a try whose answer was lost, the store may know more than we do.
            found = self.head(name)
            if found.size == spool.size and found.record.md5 == spool.md5:
                return found
        found = self._object(self._said(answer, what))
        if found.size != spool.size or found.record.md5 not in ("", spool.md5):
            raise Unavailable(f"{what} arrived with other bytes than were sent.", "Send it again.")
        return found

    def _put_whole(
        self, name: str, spool: Spool, resource: dict[str, Any], query: dict[str, str]
    ) -> tuple[urllib3.BaseHTTPResponse, bool]:
        mark = secrets.token_hex(16)
        head = (
            f"--{mark}\r\nContent-Type: application/json\r\n\r\n{json.dumps(resource)}\r\n"
            f"--{mark}\r\nContent-Type: {resource['contentType']}\r\n\r\n"
        )
        body = head.encode() + spool.read_at(0, spool.size) + f"\r\n--{mark}--\r\n".encode()
        return self._wire.ask_again(
            "POST", f"/upload/storage/v1/b/{self._bucket}/o", {**query, "uploadType": "multipart"},
            body=body, what=self._naming(name),
            headers={"Content-Type": f"multipart/related; boundary={mark}"},
        )  # fmt: skip

    def _put_in_chunks(
        self, name: str, spool: Spool, resource: dict[str, Any], query: dict[str, str]
    ) -> tuple[urllib3.BaseHTTPResponse, bool]:
        for turn in range(_ANEW):
            place = self._begin(name, spool, resource, query)
            if isinstance(place, urllib3.BaseHTTPResponse):
                return place, turn > 0
            try:
                answer = self._send_chunks(name, place, spool)
            except Broken as error:
                self._abandon(place)
                self._wire.pause(turn, error, self._naming(name))
                continue
            if answer.status not in (404, 410):  # the session has gone: begin anew
                return answer, turn > 0 or answer.status == 412
        raise Unavailable(f"{self._naming(name)} could not be sent.", "Try again.")

    def _begin(
        self, name: str, spool: Spool, resource: dict[str, Any], query: dict[str, str]
    ) -> tuple[str, str] | urllib3.BaseHTTPResponse:
        """Return path and query of a new upload, or the answer that refuses it."""
        answer, _again = self._wire.ask_again(
            "POST", f"/upload/storage/v1/b/{self._bucket}/o", {**query, "uploadType": "resumable"},
            body=json.dumps(resource).encode(), what=self._naming(name),
            headers={
                "Content-Type": "application/json; charset=UTF-8",
                "X-Upload-Content-Type": str(resource["contentType"]),
                "X-Upload-Content-Length": str(spool.size),
            },
        )  # fmt: skip
        if answer.status not in (200, 201) or "Location" not in answer.headers:
            return answer
        # An emulator may call itself by a name that is not ours for it: only what follows counts.
        place = urlsplit(answer.headers["Location"])
        return place.path.removeprefix(urlsplit(self._wire.origin).path), place.query

    def _send_chunks(
        self, name: str, place: tuple[str, str], spool: Spool
    ) -> urllib3.BaseHTTPResponse:
        """Send what the server does not have yet, until it has all."""
        at, turn = 0, 0
        while True:
            chunk = spool.read_at(at, _CHUNK_BYTES)
            span = f"bytes {at}-{at + len(chunk) - 1}/{spool.size}"
            try:
                answer = self._put_chunk(place, chunk, span)
            except Broken as error:
                if not self._resumes:
                    raise
                self._wire.pause(turn, error, self._naming(name))
                turn += 1
                try:
                    answer = self._put_chunk(place, b"", f"bytes */{spool.size}")
                except Broken:
                    continue
            if answer.status != 308:
                return answer
            received = _RECEIVED.fullmatch(answer.headers.get("Range", ""))
            behind = int(received[1]) + 1 if received else 0
            if not self._resumes:
                behind = at + len(chunk)  # an emulator's count may be one off
            turn, at = (0 if behind > at else turn), behind

    def _put_chunk(
        self, place: tuple[str, str], chunk: bytes, span: str
    ) -> urllib3.BaseHTTPResponse:
        path, query = place
        return self._wire.ask("PUT", f"{path}?{query}", body=chunk, headers={"Content-Range": span})

    def _abandon(self, place: tuple[str, str]) -> None:
        path, query = place
        try:
            self._wire.ask("DELETE", f"{path}?{query}")
        except Broken:
            pass  # it expires by itself

    def update(self, found: RemoteObject, record: ObjectRecord) -> RemoteObject:
        what = self._naming(found.name)
        body: dict[str, Any] = {key: getattr(record, name) for key, name in _SAID.items()}
        gone = dict.fromkeys(found.record.metadata.keys() - record.metadata.keys())
        body["metadata"] = {**record.metadata, **gone}
        if not body["customTime"]:
            del body["customTime"]  # once set, it cannot be taken away
        answer, _again = self._wire.ask_again(
            "PATCH", self._path(found.name), _guard(found.version), what=what,
            body=json.dumps(body).encode(), headers={"Content-Type": "application/json"},
        )  # fmt: skip
        self._said(answer, what)
        return self.head(found.name)

    def delete(self, name: str, *, only_if: str | None = None) -> None:
        answer, again = self._wire.ask_again(
            "DELETE", self._path(name), _guard(only_if), what=self._naming(name)
        )
        if answer.status not in (200, 204) and not (answer.status == 404 and again):
            raise refusal(answer.status, self._naming(name))

    def abort_unfinished(self, *, before: datetime.datetime) -> int:
        return 0  # Google forgets them after a week, shows them to nobody and takes no money

    # --- inner ----------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return f"/storage/v1/b/{self._bucket}/o/{quote(self._base + name, safe='')}"

    def _said(self, answer: urllib3.BaseHTTPResponse, what: str) -> dict[str, Any]:
        if answer.status != 200:
            raise refusal(answer.status, what)
        try:
            said: dict[str, Any] = json.loads(answer.data)
        except ValueError:
            raise Unavailable(f"{what}: the store's answer is no JSON.", "Try again.") from None
        return said

    def _object(self, item: dict[str, Any]) -> RemoteObject:
        generation, metageneration = int(item["generation"]), int(item.get("metageneration", 1))
        updated = datetime.datetime.fromisoformat(item["updated"])
        words: dict[str, Any] = {name: item.get(key) or "" for key, name in _SAID.items()}
        record = ObjectRecord(
            metageneration=metageneration,
            metadata=item.get("metadata") or {},
            md5=item.get("md5Hash", ""),
            crc32c=item.get("crc32c", ""),
            component_count=int(item.get("componentCount", 0)),
            updated_ns=round(updated.timestamp() * 1e6) * 1000,
            **words,
        )
        return RemoteObject(
            item["name"].removeprefix(self._base), int(item.get("size", 0)), updated,
            f"{generation}.{metageneration}", generation, record,
        )  # fmt: skip


class _Stream:
    def __init__(self, answer: urllib3.BaseHTTPResponse, what: str) -> None:
        self._answer, self._what = answer, what

    def read(self, size: int) -> bytes:
        try:
            return self._answer.read(size)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            kind = type(error).__name__
            raise Unavailable(f"{self._what}: the connection broke ({kind}).") from None

    def close(self) -> None:
        self._answer.close()


def _guard(only_if: str | None) -> dict[str, str]:
    if only_if is None:
        return {}
    generation, _dot, metageneration = only_if.partition(".")
    guard = {"ifGenerationMatch": generation or "0"}
    return {**guard, "ifMetagenerationMatch": metageneration} if metageneration else guard


def _resource(record: ObjectRecord, spool: Spool) -> dict[str, Any]:
    said: dict[str, Any] = {key: getattr(record, name) for key, name in _SAID.items()}
    said = {key: value for key, value in said.items() if value}
    if record.metadata:
        said["metadata"] = record.metadata
    return {"contentType": "application/octet-stream", **said, "md5Hash": spool.md5}


def _common(name: str) -> RemoteObject:
    moment = datetime.datetime.fromtimestamp(0, datetime.UTC)
    return RemoteObject(name, 0, moment, "0.0", 0, ObjectRecord(name=name))


_: type[RemoteStore] = GcsStore
