"""Where Unix sockets lie: in the run folder, or nearby when its path is too long for one."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from mlengine.core.errors import FailedPrecondition

__all__ = ["socket_dir"]

# A socket's address holds 108 bytes on Linux and 104 on other systems, its final zero included.
_MAX_PATH_BYTES = 100
_LONGEST_NAME_BYTES = 48


def socket_dir(run_dir: Path) -> Path:
    """Return the folder for the sockets of a run folder: one, by whatever path it is named.

    Raises:
        FailedPrecondition: The folder in the temporary directory is not ours alone.
    """
    run_dir = run_dir.resolve()
    if len(os.fsencode(run_dir)) + 1 + _LONGEST_NAME_BYTES < _MAX_PATH_BYTES:
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return run_dir
    digest = hashlib.sha256(os.fsencode(run_dir)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"mlengine-{os.getuid()}-{digest}"
    folder.mkdir(exist_ok=True, mode=0o700)
    found = folder.lstat()
    # Anybody may have made it before us, as a folder of theirs or a link to somewhere.
    private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    if not private or found.st_uid != os.getuid():
        raise FailedPrecondition(
            f"{folder} is not a folder of this user alone.",
            "Remove it, or choose a home with a shorter path.",
        )
    return folder
