"""Where a batch prediction's results go: whether they can lie there, and how they get there."""

from __future__ import annotations

import contextlib
from pathlib import Path

from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from mlengine.runtime.batch_output import COMPLETE, NAMES
from mlengine.storage import BucketPath, Buckets
from mlengine.storage.paths import parse_uri

__all__ = ["check_place", "publish"]


def check_place(buckets: Buckets, uri: str, *, field: str) -> None:
    """Refuse a place for results that is, or lies below, an object: nothing can lie below one.

    Raises:
        InvalidArgument: It is, or it is no URI.
        NotFound: There is no such bucket.
    """
    bucket, name = parse_uri(uri, field=field)
    buckets.get(bucket)
    parts = name.removesuffix("/").split("/") if name else []
    for end in range(1, len(parts) + 1):
        above = BucketPath(bucket, "/".join(parts[:end]))
        if _is_object(buckets, above):
            raise InvalidArgument(
                f"The output path {uri} needs a folder where the object {above} is.",
                "Name a directory of a bucket; the results get names of their own in it.",
                field=field,
            )


def publish(buckets: Buckets, local: Path, uri: str) -> None:
    """Put a run's output where it belongs, in place of what an earlier run left there.

    While the file that says that all is there is there, all is there, and of one run. Other
    objects in the folder are somebody's own and stay.

    Args:
        buckets: All buckets.
        local: The folder of the output.
        uri: What it goes below.
    """
    bucket, name = parse_uri(uri)
    folder = name if not name or name.endswith("/") else name + "/"
    made = [name for name in NAMES if (local / name).exists()]
    for stale in (COMPLETE, *(name for name in NAMES if name not in made)):
        where = BucketPath(bucket, folder + stale)
        with contextlib.suppress(NotFound):
            if _is_object(buckets, where):
                buckets.delete_object(where)
    buckets.upload_tree(local, uri, last=COMPLETE)


def _is_object(buckets: Buckets, where: BucketPath) -> bool:
    try:
        buckets.stat(where)
    except (NotFound, FailedPrecondition):  # nothing, a folder, or a link, which a writer replaces
        return False
    return True
