"""What a `runtimeVersion` means here.

Today every job runs on the engine's own interpreter and libraries. A version that names something
else is kept on the record, so that the job says what its author had in mind, and is answered with a
warning instead of a refusal: most trainers written for an old runtime run on a newer one.
"""

from __future__ import annotations

import platform

__all__ = ["LOCAL_RUNTIME", "is_local", "runtime_warning"]

LOCAL_RUNTIME = "local"


def is_local(version: str) -> bool:
    """Say whether this `runtimeVersion` asks for nothing but the engine's own interpreter."""
    return version.strip().lower() in ("", LOCAL_RUNTIME)


def runtime_warning(version: str) -> str:
    """Return what to tell a user who asked for this runtime; empty when it is exactly served.

    Example:
        >>> runtime_warning("local")
        ''
        >>> runtime_warning("1.15")  # doctest: +ELLIPSIS
        "runtime '1.15' is not built yet: running on the engine's own Python 3..."
    """
    if is_local(version):
        return ""
    return (
        f"runtime '{version}' is not built yet: running on the engine's own Python "
        f"{platform.python_version()} and its libraries. "
        f"Use runtimeVersion '{LOCAL_RUNTIME}' to ask for that without this warning."
    )
