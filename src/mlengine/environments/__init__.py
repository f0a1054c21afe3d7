"""Environments: a runtime plus a job's packages, made real on disk.

`Environments.prepare` turns package archives into an interpreter that imports them. It is built
over the engine's own installation, found by content, and reused by every job with the same
packages. Read `cache` for how it is kept, `build` for what is installed in which order.
"""

from __future__ import annotations

from mlengine.environments.archives import PACKAGE_SUFFIXES, check_archive_name
from mlengine.environments.cache import Environment, Environments
from mlengine.environments.runtimes import runtime_warning

__all__ = [
    "PACKAGE_SUFFIXES",
    "Environment",
    "Environments",
    "check_archive_name",
    "runtime_warning",
]
