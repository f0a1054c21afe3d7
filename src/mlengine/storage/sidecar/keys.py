"""How a helper reaches the object stores behind buckets: with what the engine was given for them.

    engine ──▶ supervisor ──▶ helper      in an envelope (`mlengine.runtime.envelope`)

Keys are in no file, and in no specification, argument or environment that a process shows. Those
that the engine was given in variables go, sealed, through the supervisor, which may outlive the
engine and starts the helper when somebody first asks for a bucket; the helper closes itself to
others of its user before it looks. Keys that lie in files, as ``~/.aws/credentials``, stay there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

import msgspec

from mlengine.core.errors import FailedPrecondition
from mlengine.runtime import envelope

__all__ = ["keys_in", "pack_keys", "take_keys"]

_WANTED = re.compile(
    r"(AWS|BOTO|GOOGLE|GCE|CLOUDSDK)_[A-Z0-9_]+|STORAGE_EMULATOR_HOST|NO_GCE_CHECK"
)


def keys_in(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment object stores are reached by."""
    return {name: value for name, value in environ.items() if _WANTED.fullmatch(name)}


def pack_keys(environ: Mapping[str, str]) -> bytes:
    """Return the same as bytes for an envelope.

    Raises:
        FailedPrecondition: It is too much.
    """
    kept = keys_in(environ)
    packed = json.dumps(kept).encode("ascii")
    if len(packed) > envelope.MAX_BYTES:
        longest = max(kept, key=lambda name: len(kept[name]))
        raise FailedPrecondition(
            f"The engine's variables for object stores have {len(packed)} bytes, and "
            f"{envelope.MAX_BYTES} is the most that a job's helper is given.",
            f"The longest is {longest}: name a file instead, and start the engine again.",
        )
    return packed


def take_keys(descriptor: int) -> None:
    """Set the variables in this process; what it was started with stays what the system shows."""
    packed = envelope.look(descriptor)
    os.close(descriptor)
    os.environ.update(msgspec.json.decode(packed, type=dict[str, str]))
