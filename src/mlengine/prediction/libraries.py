"""What a version was loaded with when it was created, kept on its record."""

from __future__ import annotations

import contextlib

import msgspec

from mlengine.core.errors import NotFound
from mlengine.core.resources import VersionDetails
from mlengine.store import Store, VersionRecord

__all__ = ["keep_library"]


def keep_library(store: Store, record: VersionRecord, framework: str, library: str) -> None:
    """Write into the record of a new version what loaded it; leave one that says so already.

    Args:
        store: Where the record is.
        record: The version's, as it was before it was loaded.
        framework: As its worker found it.
        library: The version of the library; empty: the worker did not say.
    """
    if not library or record.version.prediction_class or record.version.details is not None:
        return  # what loads a custom routine is its own class
    found = VersionDetails(framework=framework, library_version=library)
    with contextlib.suppress(NotFound):
        store.edit_version(
            record.project, record.model_id, record.version_id,
            lambda version: msgspec.structs.replace(version, details=found),
        )  # fmt: skip
