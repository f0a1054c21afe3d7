"""How a helper reaches the object stores behind buckets: with what the engine was given for them.

Keys travel in a file of the engine's own folder, readable by its owner only, and never in a
specification, an argument or an environment that a process shows: a helper takes them in when it
runs already. There is one such file, and none while no bucket needs it.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

__all__ = ["keep_keys", "take_keys"]

_WANTED = re.compile(
    r"(AWS|BOTO|GOOGLE|GCE|CLOUDSDK)_[A-Z0-9_]+|STORAGE_EMULATOR_HOST|NO_GCE_CHECK"
)


def keep_keys(path: Path, environ: Mapping[str, str]) -> None:
    """Write down what of an environment object stores are reached by."""
    kept = {name: value for name, value in environ.items() if _WANTED.fullmatch(name)}
    content = msgspec.json.encode(kept)
    if path.is_file() and path.read_bytes() == content:
        return
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
    aside.rename(path)


def take_keys(path: Path) -> None:
    """Set the variables in this process; what it was started with stays what the system shows."""
    try:
        os.environ.update(msgspec.json.decode(path.read_bytes(), type=dict[str, str]))
    except (OSError, msgspec.MsgspecError):
        return  # the buckets will say that there are no credentials
