"""S3, and what speaks like it, as a `RemoteStore`.

Endpoint, region, keys and time-outs are those of the AWS tools: ``AWS_ENDPOINT_URL_S3``,
``AWS_ACCESS_KEY_ID``, ``AWS_PROFILE``, … and ``~/.aws``. An object's version is its ETag; S3 has no
generations, so one is made of the second in which it was written and its ETag.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import botocore.config  # type: ignore[import-untyped]
import botocore.exceptions  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]

from mlengine.core.clock import SystemClock
from mlengine.core.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
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

__all__ = ["S3Store"]

_PAGE = 1000
_MOST_PARTS = 10_000
_CONNECTIONS = 32
_TRIES = 5
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_LAST = "\U0010ffff"  # sorts behind every character a name can go on with
_US = 1_000_000
_EXPIRED = (
    "ExpiredToken", "ExpiredTokenException", "InvalidToken", "RequestExpired",
    "TokenRefreshRequired",
)  # fmt: skip
_SAID = {
    "ContentType": "content_type", "ContentEncoding": "content_encoding",
    "ContentDisposition": "content_disposition", "ContentLanguage": "content_language",
    "CacheControl": "cache_control",
}  # fmt: skip


class S3Store:
    """One bucket, or what lies beneath a prefix of it.

    Args:
        bucket: The service's name of it.
        base: Prefix, empty or ending in a slash.
        naming: What an object is called in messages.
    """

    def __init__(self, bucket: str, base: str, naming: Naming) -> None:
        self._bucket, self._base, self._naming = bucket, base, naming
        # Servers of one's own are hardly ever found by BUCKET.HOST.
        own = any(os.environ.get(name) for name in _ENDPOINTS)
        config = botocore.config.Config(
            connect_timeout=10, read_timeout=60, max_pool_connections=_CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            s3={"addressing_style": "path"} if own else {},
        )  # fmt: skip
        session = botocore.session.get_session()
        region = session.get_config_variable("region") or "us-east-1"
        with _faults(naming("")):
            self._client: Any = session.create_client("s3", region_name=region, config=config)

    # --- reading --------------------------------------------------------------------------------

    def pages(
        self, prefix: str, *, after: str = "", is_shallow: bool = False
    ) -> Iterator[list[RemoteObject]]:
        more: dict[str, str] = {"Delimiter": "/"} if is_shallow else {}
        while True:
            with _faults(self._naming(prefix)):
                said = self._client.list_objects_v2(
                    Bucket=self._bucket, Prefix=self._base + prefix, MaxKeys=_PAGE,
                    StartAfter=self._base + after if after else "", **more,
                )  # fmt: skip
            rows = [self._listed(item) for item in said.get("Contents", [])]
            groups = [row["Prefix"] for row in said.get("CommonPrefixes", [])]
            rows += [_common(name.removeprefix(self._base)) for name in groups]
            page = sorted((row for row in rows if row.name > after), key=lambda row: row.name)
            if page:
                yield page
            if not said.get("IsTruncated") or not page:
                return
            last = page[-1].name
            after = last + _LAST if is_shallow and last.endswith("/") else last

    def head(self, name: str) -> RemoteObject:
        try:
            with _faults(self._naming(name)):
                said = self._client.head_object(Bucket=self._bucket, Key=self._base + name)
        except InvalidArgument:
            # HEAD is answered without a body, and only a body tells expired credentials from this.
            with contextlib.suppress(InvalidArgument, FailedPrecondition):
                next(self.pages(name), None)
            raise
        words: dict[str, Any] = {of: said.get(key) or "" for key, of in _SAID.items()}
        record = ObjectRecord(metadata=dict(said.get("Metadata", {})), **words)
        return _object(name, int(said["ContentLength"]), said, record)

    def read(self, found: RemoteObject, offset: int) -> ByteStream:
        what = self._naming(found.name)
        span = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            with _faults(what):
                said = self._client.get_object(
                    Bucket=self._bucket, Key=self._base + found.name, IfMatch=found.version, **span
                )
        except (NotFound, Aborted):
            raise Aborted(
                f"{what} was replaced or removed while it was read.", "Read again."
            ) from None
        return _Stream(said["Body"], what)

    # --- changing -------------------------------------------------------------------------------

    def put(
        self, name: str, spool: Spool, record: ObjectRecord, *, only_if: str | None = None
    ) -> RemoteObject:
        where = {"Bucket": self._bucket, "Key": self._base + name}
        said: dict[str, Any] = {key: getattr(record, of) for key, of in _SAID.items()}
        said = {key: value for key, value in said.items() if value}
        if record.metadata:
            said["Metadata"] = dict(record.metadata)
        if spool.size > IN_ONE_CALL_BYTES:
            version = self._put_in_parts(name, spool, where, said, _guard(only_if))
        else:
            with _faults(self._naming(name)):
                body = spool.read_at(0, spool.size)
                answer = self._client.put_object(**where, **said, **_guard(only_if), Body=body)
            version = str(answer["ETag"])
        with contextlib.suppress(NotFound):
            found = self.head(name)
            if found.version.strip('"') == version.strip('"'):
                return found
        # Another's by now. Whose generation the writer is told, it may write over the next time.
        words: dict[str, Any] = {of: getattr(record, of) for of in _SAID.values()}
        kept = ObjectRecord(metadata=dict(record.metadata), **words)
        written = {"ETag": version, "LastModified": SystemClock().now()}
        return _object(name, spool.size, written, kept)

    def _put_in_parts(
        self,
        name: str,
        spool: Spool,
        where: Mapping[str, str],
        said: Mapping[str, Any],
        guard: Mapping[str, str],
    ) -> str:
        what = self._naming(name)
        size = max(IN_ONE_CALL_BYTES, -(-spool.size // _MOST_PARTS))
        with _faults(what):
            upload = {**where, "UploadId": self._client.create_multipart_upload(
                **where, **said)["UploadId"]}  # fmt: skip
        parts: list[dict[str, Any]] = []
        try:
            with _faults(what):
                for number, at in enumerate(range(0, spool.size, size), 1):
                    done = self._client.upload_part(
                        **upload, PartNumber=number, Body=spool.read_at(at, size)
                    )
                    parts.append({"PartNumber": number, "ETag": done["ETag"]})
                answer = self._client.complete_multipart_upload(
                    **upload, **guard, MultipartUpload={"Parts": parts}
                )
            return str(answer["ETag"])
        except NotFound:
            # Completed by a try whose answer was lost, most likely: the upload has gone then.
            found = self.head(name)
            if found.size != spool.size or not found.version.endswith(f'-{len(parts)}"'):
                raise
            return found.version
        except BaseException:
            # What cannot be ended now, `abort_unfinished` ends another day.
            with contextlib.suppress(Exception):
                self._client.abort_multipart_upload(**upload)
            raise

    def update(self, found: RemoteObject, record: ObjectRecord) -> RemoteObject:
        raise Unimplemented(
            f"What is said of {self._naming(found.name)} cannot be changed: S3 has no such call.",
            "Write the object again.",
        )

    def delete(self, name: str, *, only_if: str | None = None) -> None:
        with _faults(self._naming(name)):
            self._client.delete_object(
                Bucket=self._bucket, Key=self._base + name, **_guard(only_if)
            )

    def abort_unfinished(self, *, before: datetime.datetime) -> int:
        ended = 0
        with _faults(self._naming("")):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._base
            )
            for page in pages:
                for upload in page.get("Uploads", []):
                    if upload["Initiated"] < before:
                        with contextlib.suppress(botocore.exceptions.ClientError):
                            self._client.abort_multipart_upload(
                                Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                            )
                            ended += 1
        return ended

    def _listed(self, item: Mapping[str, Any]) -> RemoteObject:
        name = item["Key"].removeprefix(self._base)
        return _object(name, int(item["Size"]), item, ObjectRecord())


class _Stream:
    def __init__(self, body: Any, what: str) -> None:
        self._body, self._what = body, what

    def read(self, size: int) -> bytes:
        with _faults(self._what):
            chunk: bytes = self._body.read(size)
            return chunk

    def close(self) -> None:
        self._body.close()


def _object(name: str, size: int, said: Mapping[str, Any], record: ObjectRecord) -> RemoteObject:
    updated: datetime.datetime = said["LastModified"].astimezone(datetime.UTC)
    version = str(said["ETag"])
    # Reads like Google's, microseconds since 1970; two writings of one second differ by content.
    generation = int(updated.timestamp()) * _US + zlib.crc32(version.encode()) % _US
    return RemoteObject(name, size, updated.replace(microsecond=0), version, generation, record)


def _common(name: str) -> RemoteObject:
    moment = datetime.datetime.fromtimestamp(0, datetime.UTC)
    return RemoteObject(name, 0, moment, "-", 0, ObjectRecord(name=name))


def _guard(only_if: str | None) -> dict[str, str]:
    if only_if is None:
        return {}
    return {"IfMatch": only_if} if only_if else {"IfNoneMatch": "*"}


@contextlib.contextmanager
def _faults(what: str) -> Iterator[None]:
    """Raise what a failure means, not what it says: that may hold a URL or the id of a key."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _EXPIRED:
            # Like an outage, though answered as the caller's mistake: it passes, and nothing that
            # was hours in the making is given up for it.
            raise Unavailable(
                f"{what} cannot be reached: the engine's S3 credentials have expired ({code}).",
                "Renew them, then start the engine again.",
            ) from None
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        raise refusal(status, what) from None
    except (
        botocore.exceptions.NoCredentialsError,
        botocore.exceptions.PartialCredentialsError,
        botocore.exceptions.ProfileNotFound,
        botocore.exceptions.CredentialRetrievalError,
    ):
        raise FailedPrecondition(
            "There are no credentials for S3.",
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, then start the "
            "engine again.",
        ) from None
    except (botocore.exceptions.BotoCoreError, OSError) as error:
        raise Unavailable(
            f"{what} cannot be reached: {type(error).__name__}.",
            "Try again; check the network to the object store.",
        ) from None


_: type[RemoteStore] = S3Store
