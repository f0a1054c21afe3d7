"""Environments: a runtime plus a job's packages, made real on disk.

`Environments.prepare` turns a `runtimeVersion` and package archives into an interpreter that
imports them, found by content and reused by every job that asks for the same. Read `catalogue` for
what runtimes there are, `resolution` for which one a version means, `cache` for how they are kept,
`build` for what is installed in which order.
"""

from __future__ import annotations

from mlengine.environments.archives import PACKAGE_SUFFIXES, check_archive_name
from mlengine.environments.cache import Environment, Environments, RuntimeOnDisk
from mlengine.environments.resolution import unused_runtime_warning

__all__ = [
    "PACKAGE_SUFFIXES",
    "Environment",
    "Environments",
    "RuntimeOnDisk",
    "check_archive_name",
    "unused_runtime_warning",
]
