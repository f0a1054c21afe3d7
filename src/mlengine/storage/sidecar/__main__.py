"""``python -m mlengine.storage.sidecar FD CONFIG [KEYS]``: serve one attempt on inherited sockets.

FD listens; KEYS is the envelope with the engine's keys, for who has buckets in object stores.
"""

from __future__ import annotations

import sys

from mlengine.runtime.concealment import conceal

if __name__ == "__main__":
    conceal()  # before what takes a while to be imported

import asyncio
import signal
import socket
from pathlib import Path

from mlengine.storage.sidecar.config import read_config
from mlengine.storage.sidecar.keys import take_keys
from mlengine.storage.sidecar.server import Sidecar

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Serve until killed: the supervisor does that when the attempt is over."""
    descriptor, config, *keys = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer
    with socket.socket(fileno=int(descriptor)) as listener:
        if keys:
            take_keys(int(keys[0]))
        asyncio.run(Sidecar(read_config(Path(config))).serve(listener))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
