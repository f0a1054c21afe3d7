"""Buckets and objects as the JSON API writes them, and the fields of theirs that callers set."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.resources import Bucket
from mlengine.storage.gcs.messages import Unsupported
from mlengine.storage.gcs.shelves import Stored
from mlengine.storage.records import ObjectRecord

__all__ = [
    "DEFAULT_TYPE",
    "bucket_resource",
    "changed_record",
    "check_settable",
    "moment_text",
    "object_resource",
    "object_url",
    "read_record",
    "says_something",
]

DEFAULT_TYPE = "application/octet-stream"
_SETTABLE = {
    "contentType": "content_type",
    "contentEncoding": "content_encoding",
    "contentDisposition": "content_disposition",
    "contentLanguage": "content_language",
    "cacheControl": "cache_control",
    "customTime": "custom_time",
}
_REFUSED = ("acl", "contexts", "eventBasedHold", "kmsKeyName", "retention", "temporaryHold")
_MAX_METADATA_BYTES = 8192


def object_url(origin: str, bucket: str, name: str, *, kind: str = "storage") -> str:
    """Return where an object is in the API; `kind` may be ``download/storage``."""
    return f"{origin}/{kind}/v1/b/{bucket}/o/{quote(name, safe='')}"


def object_resource(stored: Stored, origin: str) -> dict[str, Any]:
    """Write an object; what is not known of it is left out."""
    record, generation = stored.record, str(stored.generation)
    created = moment_text(stored.generation * 1000)
    media = object_url(origin, stored.bucket, stored.name, kind="download/storage")
    resource: dict[str, Any] = {
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{generation}",
        "selfLink": object_url(origin, stored.bucket, stored.name),
        "mediaLink": f"{media}?generation={generation}&alt=media",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": generation,
        "metageneration": str(record.metageneration),
        "contentType": record.content_type or DEFAULT_TYPE,
        "storageClass": "STANDARD",
        "size": str(stored.size),
        "etag": stored.facts.etag,
        "timeCreated": created,
        "timeStorageClassUpdated": created,
        "updated": moment_text(record.updated_ns) if record.updated_ns else created,
    }
    optional = {
        **{key: getattr(record, name) for key, name in _SETTABLE.items() if key != "contentType"},
        "metadata": record.metadata,
        "md5Hash": record.md5,
        "crc32c": record.crc32c,
        "componentCount": record.component_count,
    }
    resource.update((key, value) for key, value in optional.items() if value)
    return resource


def bucket_resource(bucket: Bucket, origin: str) -> dict[str, Any]:
    """Write a bucket."""
    created = bucket.create_time or "1970-01-01T00:00:00Z"
    moment = created if "." in created else created.removesuffix("Z") + ".000Z"
    return {
        "kind": "storage#bucket",
        "id": bucket.name,
        "selfLink": f"{origin}/storage/v1/b/{bucket.name}",
        "name": bucket.name,
        "projectNumber": "0",
        "generation": "1",
        "metageneration": "1",
        "location": "LOCAL",
        "locationType": "region",
        "storageClass": "STANDARD",
        "etag": "1-1",
        "timeCreated": moment,
        "updated": moment,
    }


def read_record(resource: Mapping[str, Any], *, content_type: str = "") -> ObjectRecord:
    """Read what a caller says of an object to be written.

    Args:
        resource: The JSON that came with the upload.
        content_type: What the upload's headers say, where the JSON does not.

    Raises:
        InvalidArgument: A field is of another kind, or these buckets do not have it.
    """
    record = changed_record(ObjectRecord(), resource)
    if content_type and not record.content_type:
        record = msgspec.structs.replace(record, content_type=content_type)
    return record


def changed_record(
    record: ObjectRecord, resource: Mapping[str, Any], *, is_whole: bool = False
) -> ObjectRecord:
    """Return `record` with what a caller says; null removes.

    Args:
        record: What was known.
        resource: The JSON of a patch.
        is_whole: What `resource` does not mention goes too (an update, not a patch).
    """
    _refuse_others(resource)
    changes: dict[str, Any] = dict.fromkeys(_SETTABLE.values(), "") if is_whole else {}
    for key, name in _SETTABLE.items():
        if key in resource:
            changes[name] = _text(resource[key], key)
    if is_whole or "metadata" in resource:
        kept = {} if is_whole or resource.get("metadata") is None else record.metadata
        changes["metadata"] = _metadata(kept, resource.get("metadata"))
    return msgspec.structs.replace(record, **changes)


def check_settable(resource: Mapping[str, Any], *, field: str) -> None:
    """Refuse what `changed_record` would read over.

    Raises:
        InvalidArgument: Something else than the fields of an object that callers set.
    """
    known = [*_SETTABLE, "metadata"]
    for key in resource:
        if key not in known:
            raise InvalidArgument(
                f"Of an object no {str(key)[:60]!r} is kept.",
                f"{did_you_mean(str(key), known)}Use some of {', '.join(known)}.",
                field=field,
            )


def says_something(resource: Mapping[str, Any]) -> bool:
    """Return whether a caller's JSON says more of an object than what it is called."""
    return any(key in resource for key in (*_SETTABLE, "metadata"))


def _refuse_others(resource: Mapping[str, Any]) -> None:
    for field in _REFUSED:
        if resource.get(field):
            raise Unsupported(f"These buckets have no {field}.", "Leave it out.", field=field)
    if resource.get("storageClass", "STANDARD") not in ("STANDARD", None):
        raise Unsupported(
            f"The storage class {resource['storageClass']!r} is not to be had here.",
            "Use STANDARD.",
            field="storageClass",
        )


def _metadata(kept: Mapping[str, str], said: object) -> dict[str, str]:
    if said is None:
        return dict(kept)
    if not isinstance(said, dict):
        raise InvalidArgument("It is no JSON object.", field="metadata")
    merged: dict[str, Any] = {**kept, **said}
    metadata = {
        key: _text(value, f"metadata.{key}") for key, value in merged.items() if value is not None
    }
    if sum(len(k.encode()) + len(v.encode()) for k, v in metadata.items()) > _MAX_METADATA_BYTES:
        raise InvalidArgument(
            f"There are more than {_MAX_METADATA_BYTES} bytes.", "Say less.", field="metadata"
        )
    return metadata


def _text(value: object, field: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or any(c in "\r\n\0" for c in value):
        raise InvalidArgument(f"{str(value)[:60]!r} is no line of text.", field=field)
    return value


def moment_text(moment_ns: int) -> str:
    """Write a moment with milliseconds, without which Google's client does not read it."""
    moment = datetime.datetime.fromtimestamp(moment_ns // 1_000_000 / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
