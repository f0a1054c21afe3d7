"""Loopback ports for replicas, which listen only seconds after they were told where.

Between the choice of a port and the trainer's own `bind` lie imports of TensorFlow or PyTorch, so
a port is taken from below the range from which the kernel gives ports to outgoing connections
(32768 and up by default), and one that was handed out is not handed out again for a long while.
"""

from __future__ import annotations

import random
import socket
import threading
from collections import deque
from collections.abc import Collection

from mlengine.core.errors import ResourceExhausted

__all__ = ["Ports"]

_FIRST, _END = 20_000, 32_768
_REMEMBERED = 4096


class Ports:
    """Hands out ports on which nobody listens; thread-safe.

    Example:
        >>> len(set(Ports().take(3)))
        3
    """

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()
        self._dice = random.SystemRandom()  # several engines on a machine must not agree

    def take(self, count: int, *, avoid: Collection[int] = ()) -> list[int]:
        """Return so many different ports, none of them in `avoid`.

        Raises:
            ResourceExhausted: So many ports are not free.
        """
        found: list[int] = []
        with self._lock:
            taken = set(self._recent) | set(avoid)
            for port in self._dice.sample(range(_FIRST, _END), _END - _FIRST):
                if len(found) == count:
                    break
                if port not in taken and _is_free(port):
                    found.append(port)
            if len(found) < count:
                raise ResourceExhausted(
                    f"Of the ports {_FIRST} to {_END - 1} no {count} are free.",
                    "Stop something that listens on them, then retry.",
                )
            self._recent.extend(found)
        return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
