"""What the engine tells a sidecar, and the commands beside it: a file in the attempt's folder."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlengine.core.errors import FailedPrecondition
from mlengine.core.resources import Bucket
from mlengine.runtime.wholefile import write_whole
from mlengine.storage.backends.remote import REMOTE_SCHEMES
from mlengine.storage.paths import parse_backing
from mlengine.storage.sidecar.table import BucketSnapshot, JobBuckets

__all__ = ["SidecarConfig", "open_buckets", "read_config", "write_config"]


class SidecarConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content.

    Attributes:
        secret: What every caller has to show; of this attempt alone.
        root: Folder of the folder-backed buckets.
        buckets: Those that are backed elsewhere, as they were when the attempt was prepared.
        certificate: PEM file for Google's host names; empty: these are not intercepted.
        key: Its private key.
    """

    secret: str
    root: str
    buckets: list[Bucket]
    certificate: str = ""
    key: str = ""


def write_config(path: Path, config: SidecarConfig) -> None:
    """Write the file for its owner only; whole or not at all."""
    write_whole(path, msgspec.json.encode(config))


def read_config(path: Path) -> SidecarConfig:
    """Read the file.

    Raises:
        FailedPrecondition: It is not there, or not of this version.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=SidecarConfig)
    except (OSError, msgspec.MsgspecError) as error:
        raise FailedPrecondition(
            f"The job's bucket access {path} cannot be read: {error}.",
            "It is written when an attempt starts, and ends with it.",
        ) from None


def open_buckets(config: SidecarConfig, *, by_helper: bool = False) -> JobBuckets:
    """Return the buckets that a file tells of.

    Args:
        by_helper: Reach those in object stores through the helper, which is what a job finds at
            ``STORAGE_EMULATOR_HOST``: a job's own programs have no keys.
    """
    root, buckets = Path(config.root), config.buckets
    if by_helper:
        buckets = [_by_helper(bucket) for bucket in buckets]
    return JobBuckets(BucketSnapshot(root, buckets), root)


def _by_helper(bucket: Bucket) -> Bucket:
    if parse_backing(bucket.backing).scheme not in REMOTE_SCHEMES:
        return bucket
    return msgspec.structs.replace(bucket, backing=f"gcs://{bucket.name}")
