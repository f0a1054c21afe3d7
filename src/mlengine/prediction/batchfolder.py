"""What a batch prediction job keeps in its own folder, all of it copies: until the job is over.

<job>/shards              rows that are done, for the next attempt
<job>/<attempt>/inputs    input files whose bucket is not a folder of this machine
<job>/<attempt>/model     the model directory of a job that names no version
<job>/<attempt>/batch     what the batch itself writes: how far it is, and its output
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from mlengine.core.errors import Aborted, FailedPrecondition
from mlengine.runtime.batch_output import COMPLETE
from mlengine.storage import BucketPath, Buckets, ObjectInfo
from mlengine.storage.chunks import chunks_of
from mlengine.training.kinds import Preparation

__all__ = ["OWN", "clear", "give_up", "local_inputs"]

OWN = "batch"
"""Of an attempt's folder, what the batch itself may write to."""


def give_up(preparation: Preparation) -> Callable[[], None]:
    """Return what raises `Aborted` once a preparation is to stop; for between two chunks."""

    def check() -> None:
        if preparation.cancelled():
            raise Aborted("The job was stopped while its files were fetched.", "Submit it again.")

    return check


def local_inputs(
    buckets: Buckets, found: Iterable[ObjectInfo], folder: Path, *, between: Callable[[], None]
) -> list[str]:
    """Return a local path of each input object; what does not lie on this machine is fetched.

    Args:
        buckets: All buckets.
        found: The objects.
        folder: Of the attempt.
        between: Called before each chunk; what it raises ends the fetching.
    """
    paths = []
    for index, item in enumerate(found):
        # As a place, not as text: a listing also finds what no URI can name alone, such as '?'.
        place = BucketPath(item.bucket, item.name)
        try:
            path = buckets.local_path(place)
        except FailedPrecondition:  # its bucket is not a folder
            path = folder / "inputs" / f"{index:05d}-{Path(item.name).name}"
            path.parent.mkdir(exist_ok=True)
            with buckets.open_read(place) as data, path.open("wb") as out:
                for chunk in chunks_of(data):
                    between()
                    out.write(chunk)
        paths.append(str(path))
    return paths


def clear(job_dir: Path, *, keep_whole_output: bool) -> None:
    """Remove all copies of a job that is over; its logs, and what it told of itself, stay.

    Args:
        job_dir: Of all its attempts.
        keep_whole_output: Leave the output of an attempt that came to its end: it is nowhere else.
    """
    shutil.rmtree(job_dir / "shards", ignore_errors=True)
    for attempt in job_dir.glob("[0-9]*"):
        for name in ("inputs", "model", "model.part"):
            shutil.rmtree(attempt / name, ignore_errors=True)
        # The model may have written there, and put a link that leads anywhere in its place.
        if (attempt / OWN).is_symlink():
            continue
        output = attempt / OWN / "output"
        if not (keep_whole_output and (output / COMPLETE).exists()):
            shutil.rmtree(output, ignore_errors=True)
