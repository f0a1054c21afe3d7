"""``python -m mlengine.storage.sidecar FD CONFIG``: serve one attempt on an inherited socket."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path

from mlengine.runtime.concealment import conceal
from mlengine.storage.sidecar.config import read_config
from mlengine.storage.sidecar.keys import take_keys
from mlengine.storage.sidecar.server import Sidecar

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Serve until killed: the supervisor does that when the attempt is over."""
    descriptor, config = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer
    with socket.socket(fileno=int(descriptor)) as listener:
        read = read_config(Path(config))
        if read.keys:
            conceal()
            take_keys(Path(read.keys))
        asyncio.run(Sidecar(read).serve(listener))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
