"""What every test may rely on."""

from __future__ import annotations

import os
import signal
import tracemalloc  # noqa: F401  # where something is left open pytest imports it, amid a test

from hypothesis import HealthCheck, settings

# A runner in the background of a shell starts with SIGINT ignored, and so would every child of it:
# tests that press Ctrl-C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Properties are about results; how long an example takes says how busy the machine is. Where `CI`
# is set, hypothesis has a profile of its own that says the same.
if "CI" not in os.environ:
    settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("here")
