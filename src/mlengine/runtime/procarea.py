"""What ``ps`` and ``/proc`` show of a forked process: its own command line, and its attempt's tag.

The kernel shows the memory in which a process got its arguments and its environment when it was
executed; a fork inherits it. So a zygote is started with room to spare there (an argument of
blanks, a variable of blanks), and a replica that is forked from it writes its own over its copy.
`processes.of_attempt` finds a forked replica by that tag as it finds any other.

Standard library only, Python >= 3.7, Linux.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

__all__ = ["ARGUMENT_ROOM", "ROOM_VARIABLE", "TAG_ROOM", "ProcArea", "set_name"]

ROOM_VARIABLE = "MLENGINE_ROOM"
TAG_ROOM = " " * 512
ARGUMENT_ROOM = " " * 2048

_PR_SET_NAME = 15
_libc = ctypes.CDLL(None, use_errno=True)


class ProcArea:
    """Where this process's arguments and its spare variable lie; forks have them there too.

    Raises:
        OSError: The process was not started with room to spare.
    """

    def __init__(self) -> None:
        raw = Path("/proc/self/stat").read_bytes()
        fields = raw[raw.rindex(b")") + 2 :].split()
        self._arguments, self._arguments_end = int(fields[45]), int(fields[46])
        wanted = f"{ROOM_VARIABLE}=".encode("ascii")
        environment = Path("/proc/self/environ").read_bytes()
        offset = 0
        for entry in environment.split(b"\0"):
            if entry.startswith(wanted):
                break
            offset += len(entry) + 1
        else:
            raise OSError(f"this process was started without {ROOM_VARIABLE}")
        self._variable, self._variable_size = int(fields[47]) + offset, len(entry)
        if not (self._arguments and int(fields[47])):
            raise OSError("the kernel does not say where this process's environment lies")
        os.environ.pop(ROOM_VARIABLE, None)  # nothing in the process may point there any more

    def show_variable(self, name: str, value: str) -> None:
        """Show ``name=value`` in ``/proc/PID/environ``.

        Raises:
            OSError: It is longer than the room.
        """
        text = os.fsencode(f"{name}={value}")
        if len(text) > self._variable_size:
            raise OSError(f"there is no room for {len(text)} bytes of {name}")
        ctypes.memmove(self._variable, text.ljust(self._variable_size, b"\0"), self._variable_size)

    def show_command(self, argv: list[str]) -> None:
        """Show the command in ``/proc/PID/cmdline``, as much of it as there is room for."""
        size = self._arguments_end - self._arguments
        text = os.fsencode(" ".join(argv))[: size - 2]
        # A last byte that is not zero tells the kernel that the text ends at the first zero.
        ctypes.memmove(self._arguments, text.ljust(size - 1, b"\0") + b".", size)


def set_name(name: str) -> None:
    """Set the short name that ``top`` shows."""
    _libc.prctl(_PR_SET_NAME, ctypes.c_char_p(os.fsencode(name)[:15]), 0, 0, 0)
