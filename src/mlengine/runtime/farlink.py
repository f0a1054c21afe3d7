"""What a supervisor, its agent and the outposts of its replicas say to each other.

    supervisor ══ socket ══ agent ══ the cluster's own calls ══ node ══ pipes ══ outpost ── replica

All of it is frames (`mlengine.runtime.frames`). Between supervisor and agent a frame's id is the
number of a replica. What an outpost says passes through the agent as `DATA`, untouched, whole and
in order; the supervisor alone takes it apart. To an outpost go single bytes, the ``ORDER_``s.

Nobody waits for ever for somebody who is gone. An outpost that has heard no beat for `LEASE_S`
kills its replica; so whoever has lost sight of it knows, `CERTAIN_S` later, that it is dead.

Standard library only.
"""

from __future__ import annotations

__all__ = [
    "ASK", "BEAT", "CERTAIN_S", "DATA", "ENDED", "GONE", "KILL", "LEASE_S", "LOST",
    "MAX_FRAME_BYTES", "OLD_ERRORS", "OPEN", "ORDER_BEAT", "ORDER_KILL", "ORDER_STOP", "OUTPUT",
    "PLACED", "REFUSED", "SAY", "SILENCE_S", "STARTED", "STOP",
]  # fmt: skip

LEASE_S = 15.0
"""Without a beat for so long, an outpost kills its replica and ends."""

CERTAIN_S = 20.0
"""So long after a replica was last heard of, it is dead, whatever happened to it."""

SILENCE_S = 24.0
"""An agent that says nothing for so long hangs: it feeds no outpost any more."""

MAX_FRAME_BYTES = 64 * 1024 * 1024

# From a supervisor to its agent.
OPEN = 1
"""Place and start all replicas; JSON."""
STOP = 2
"""SIGTERM to one replica; one that is not placed yet is withdrawn."""
KILL = 3
ASK = 4
"""From a launcher: is anything left of the attempt with this tag? Answered by `GONE` or `BEAT`."""

# From an agent to a supervisor.
BEAT = 10
DATA = 11
"""Bytes of the outpost's own frames, below."""
LOST = 12
"""The replica is dead and nobody knows how it ended; text."""
REFUSED = 13
"""The replica can never be started; text."""
PLACED = 14
"""Where it will run; JSON."""
GONE = 15
"""It was withdrawn before it was started; or, to a launcher, nothing is left."""

# From an outpost.
OUTPUT = 20
"""What the replica printed; bytes."""
OLD_ERRORS = 21
"""What it printed to stderr, from an outpost of before there was one pipe for both; bytes.

An agent outlives the engine that started it, and so an upgrade.
"""
SAY = 22
"""A line of our own for the replica's log; JSON [severity, text]."""
STARTED = 23
ENDED = 24
"""Nothing of the replica is left; JSON."""

# To an outpost.
ORDER_BEAT = b"."
ORDER_STOP = b"s"
ORDER_KILL = b"k"
