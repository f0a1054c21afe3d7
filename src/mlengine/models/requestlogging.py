"""Which table keeps a version's predictions, and how many of them: `requestLoggingConfig`.

Google's service ignored the field when a version was created; here it counts from the beginning, as
nothing that is sent is ignored. A table is in the version's own project: who may read the one may
read the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec

from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import RequestLoggingConfig, Version

__all__ = ["LOGGING_MASK", "check_logging", "relogged", "table_of"]

_FIELD = "request_logging_config"
LOGGING_MASK = {
    _FIELD: "which table keeps predictions; left out: none",
    f"{_FIELD}.bigquery_table_name": "the table",
    f"{_FIELD}.sampling_percentage": "the share that is kept, 0 to 1",
}
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}", re.ASCII)


def check_logging(version: Version, project: str) -> None:
    """Refuse a request log that cannot be written.

    Raises:
        InvalidArgument: A share that is none, a share of no table, or a table that is none or is
            another project's.
    """
    config = version.request_logging_config
    if config is None:
        return
    if not 0.0 <= config.sampling_percentage <= 1.0:
        raise InvalidArgument(
            f"A share of {config.sampling_percentage:g} of the predictions cannot be kept.",
            "samplingPercentage is a share from 0 to 1.",
            field=f"version.{_FIELD}.sampling_percentage",
        )
    field = f"version.{_FIELD}.bigquery_table_name"
    name = config.bigquery_table_name
    if not name:
        if config.sampling_percentage:
            raise InvalidArgument(
                "There is no table to keep the predictions in.",
                f"Set bigqueryTableName to {project}.DATASET.TABLE.", field=field,
            )  # fmt: skip
        return
    parts = name.split(".")
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidArgument(
            f"{name[:200]!r} is no name of a table.",
            f"Write {project}.DATASET.TABLE: letters, digits, '_' and '-'.", field=field,
        )  # fmt: skip
    if parts[0] != project:
        raise InvalidArgument(
            f"The table '{name[:200]}' is not of project '{project}'.",
            f"Write {project}.{parts[1]}.{parts[2]}: a log belongs to the project of its version.",
            field=field,
        )


def relogged(old: Version, sent: Version, paths: Collection[str]) -> Version:
    """Return a version with what a patch says of its request log."""
    given = sent.request_logging_config
    if _FIELD in paths:
        return msgspec.structs.replace(old, request_logging_config=given)
    names = [path.partition(".")[2] for path in paths if path.startswith(f"{_FIELD}.")]
    if not names:
        return old
    changes = {name: getattr(given or RequestLoggingConfig(), name) for name in names}
    config = msgspec.structs.replace(
        old.request_logging_config or RequestLoggingConfig(), **changes
    )
    return msgspec.structs.replace(old, request_logging_config=config)


def table_of(version: Version) -> tuple[str, float]:
    """Return the table and the share of predictions that it keeps; an empty name and 0: none."""
    config = version.request_logging_config
    if config is None or not config.bigquery_table_name or config.sampling_percentage <= 0:
        return "", 0.0
    return config.bigquery_table_name, config.sampling_percentage
