"""What `archives` and its readers of tar and zip share: members, limits, and one refusal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, NoReturn

from mlengine.core.errors import InvalidArgument

__all__ = ["Limits", "Member", "refuse"]

_MAX_RATIO = 100  # unpacked bytes per packed byte
_FREE_BYTES = 4 * 1024**2  # below this no ratio is a bomb: a small text may shrink 1000:1


class Limits(NamedTuple):
    """What an archive may grow to."""

    max_files: int
    max_bytes: int

    def check_bytes(self, unpacked: int, packed: int, name: str) -> None:
        """Raise unless `unpacked` bytes, made from `packed` bytes, are within the limits."""
        if unpacked > self.max_bytes:
            refuse(name, f"makes the archive larger than {self.max_bytes} bytes")
        if unpacked > max(_FREE_BYTES, _MAX_RATIO * packed):
            refuse(name, f"makes the archive grow more than {_MAX_RATIO} times")


class Member(NamedTuple):
    """One entry of an archive; `chunks` may be read once, before the next member is asked for."""

    name: str
    is_folder: bool
    is_executable: bool
    chunks: Iterable[bytes]


def refuse(name: str, problem: str) -> NoReturn:
    """Raise the error for one member of an archive."""
    shown = name if len(name) <= 200 else name[:197] + "..."
    raise InvalidArgument(
        f"The archive's member {shown!a} {problem}.",
        "Pack regular files and folders with plain relative names.",
    )
