"""The command of the engine's process, by itself: who runs it needs nothing else of a client."""

from __future__ import annotations

import sys

__all__ = ["daemon_argv"]


def daemon_argv(*flags: str) -> list[str]:
    """Return the command of the engine's process; ``-P`` keeps the user's folder off its path."""
    return [sys.executable, "-P", "-m", "mlengine.daemon", *flags]
