"""What an upload weighs: checksums that are told, and those that the caller makes a condition."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from mlengine.core.errors import InvalidArgument
from mlengine.storage.gcs.crc32c import crc32c_text
from mlengine.storage.gcs.shelves import Draft
from mlengine.storage.records import ObjectRecord

__all__ = ["Expected", "weighed"]

_CHUNK_BYTES = 1 << 20
_ALWAYS_CRC_BYTES = 64 << 20  # beyond, only who names a CRC-32C waits for it


class Expected(NamedTuple):
    """The checksums that a caller says its bytes have; empty where it says nothing."""

    md5: str = ""
    crc32c: str = ""

    @classmethod
    def of(cls, headers: Mapping[str, str], resource: Mapping[str, Any]) -> Expected:
        """Read them from ``X-Goog-Hash``, ``Content-MD5`` and the object's JSON."""
        said = {"md5": headers.get("content-md5", ""), "crc32c": ""}
        for part in headers.get("x-goog-hash", "").split(","):
            kind, _equals, value = part.strip().partition("=")
            if kind in said:
                said[kind] = value
        md5, crc = resource.get("md5Hash"), resource.get("crc32c")
        return cls(str(md5 or said["md5"]), str(crc or said["crc32c"]))


def weighed(draft: Draft, record: ObjectRecord, expected: Expected) -> ObjectRecord:
    """Add a draft's checksums to its record.

    Raises:
        InvalidArgument: The bytes are not those that the caller meant to send.
    """
    md5 = base64.b64encode(_md5(draft.chunks(_CHUNK_BYTES))).decode()
    crc = ""
    if expected.crc32c or draft.size <= _ALWAYS_CRC_BYTES:
        crc = crc32c_text(draft.chunks(_CHUNK_BYTES))
    for name, said, found in (("md5Hash", expected.md5, md5), ("crc32c", expected.crc32c, crc)):
        if said and said != found:
            raise InvalidArgument(
                f"Provided {name} '{said[:40]}' doesn't match calculated '{found}'.",
                "Nothing was kept; send it again.",
                field=name,
            )
    return msgspec.structs.replace(record, md5=md5, crc32c=crc)


def _md5(chunks: Iterable[bytes]) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()
