"""The two programs as files: what a replica's ``PATH`` leads to."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path

__all__ = ["PROGRAMS", "install_programs"]

PROGRAMS = ("gsutil", "gcloud")


def install_programs(folder: Path) -> Path:
    """Write the programs into a folder, unless they are there as they should be; return it.

    They start this interpreter with this process's own module path, isolated from whatever
    ``PYTHONPATH`` a trainer has.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in PROGRAMS:
        path, text = folder / name, _text(name)
        if not path.is_file() or path.read_text() != text or not os.access(path, os.X_OK):
            descriptor, aside = tempfile.mkstemp(prefix=f".{name}-", dir=folder)
            with os.fdopen(descriptor, "w") as out:
                out.write(text)
            Path(aside).chmod(0o700)
            Path(aside).rename(path)
    return folder


def _text(name: str) -> str:
    paths = [str(Path(p).absolute()) for p in sys.path if p]
    code = (
        f"import sys; sys.path[:] = {paths!r}; "
        f"from mlengine.storage.shims import main; sys.exit(main({name!r}, sys.argv[1:]))"
    )
    words = shlex.join([sys.executable, "-I", "-c", code])
    # Through sh, because a first line may neither be long nor hold spaces.
    return f'#!/bin/sh\nexec {words} "$@"\n'
