"""What every test may rely on."""

from __future__ import annotations

import signal

# A runner in the background of a shell starts with SIGINT ignored, and so would every child of it:
# tests that press Ctrl-C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
