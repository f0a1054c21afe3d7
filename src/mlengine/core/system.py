"""What needs Linux says so, instead of ending in a traceback at the first call that is missing.

The engine, its replicas and workers stand on pidfds, ``/proc`` and Linux's ways to confine a
process. A command that only calls an engine needs none of them.
"""

from __future__ import annotations

import sys

from mlengine.core.errors import FailedPrecondition

__all__ = ["require_linux"]


def require_linux(what: str, *, system: str = sys.platform) -> None:
    """Refuse what runs on Linux only, if this is another system.

    Args:
        what: Who runs there, such as ``The engine``; the error begins with it.
        system: This one, as Python names it.

    Raises:
        FailedPrecondition: It is another system.
    """
    if system != "linux":
        raise FailedPrecondition(
            f"{what} runs on Linux only, and this is {system}.",
            "Run it in a Linux virtual machine or container. Commands here use an engine there "
            "once MLENGINE_ENDPOINT is its URL and MLENGINE_TOKEN its token.",
        )
