"""Back from the real path that a trainer was given for ``gs://`` to what it had asked for."""

from __future__ import annotations

from mlengine.storage.paths import parse_backing
from mlengine.storage.sidecar.config import SidecarConfig

__all__ = ["uri_of"]


def uri_of(word: str, config: SidecarConfig) -> str:
    """Return the URI of what lies in a bucket's folder; any other word as it is.

    A trainer hands on what it was given: ``gsutil -q stat`` of its ``--train-files`` is a question
    about an object.

    Args:
        word: An argument of a command, also with wildcards.
        config: Says which folders are buckets.
    """
    backings = ((bucket.name, parse_backing(bucket.backing)) for bucket in config.buckets)
    folders = [(backing.path, name) for name, backing in backings if backing.scheme == "file"]
    for folder, name in sorted(folders, reverse=True):  # one within another comes before it
        if f"{word}/".startswith(f"{folder}/"):
            return f"gs://{name}{word.removeprefix(folder)}"
    beneath = word.removeprefix(f"{config.root}/")
    return word if beneath == word else f"gs://{beneath}"
