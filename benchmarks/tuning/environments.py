"""A virtual environment for each peer, outside of the repository, made once by uv.

Where packages come from is the machine's business: uv's own variables (`UV_INDEX_URL`,
`UV_FIND_LINKS`, …) are passed through. PyTorch's plain wheel brings gigabytes of CUDA; a folder
with its CPU build in `UV_FIND_LINKS` is preferred by uv.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["NotInstalledError", "python_of"]

_REQUIREMENTS = Path(__file__).with_name("requirements")
_VERSION = "3.11"


class NotInstalledError(Exception):
    """A peer cannot be had here; the message says why, in one line."""


def python_of(
    environment: str, cache: Path, *, install: bool = True, requirements: Path = _REQUIREMENTS
) -> str:
    """Return the interpreter of an environment, and make it if it is not there.

    Raises:
        NotInstalledError: It could not be made, or is not there and may not be.
    """
    if not environment:
        return sys.executable
    file = requirements / f"{environment}.txt"
    wanted = file.read_bytes()
    folder = cache / "peers" / environment
    stamp = folder / "requirements.sha256"
    digest = hashlib.sha256(wanted).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return str(folder / "bin" / "python")
    if not install:
        raise NotInstalledError("not installed: run without --no-install")
    _make(file, folder)
    stamp.write_text(digest)
    return str(folder / "bin" / "python")


def _make(file: Path, folder: Path) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if not uv:
        raise NotInstalledError("not installed: there is no uv")
    print(f"installing {file.stem} into {folder}", file=sys.stderr, flush=True)
    for words in (
        ["venv", "--quiet", "--clear", "--python", _VERSION, str(folder)],
        ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(folder),
         "-r", str(file)],
    ):  # fmt: skip
        done = subprocess.run([uv, *words], capture_output=True, text=True, env=os.environ)
        if done.returncode:
            said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            why = next((line for line in said if line.startswith("error:")), (said or ["?"])[-1])
            raise NotInstalledError(f"not installed: {why[:200]}")
