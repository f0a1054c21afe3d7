"""``--config`` under flags: a flag that was given overwrites its field, nothing else is touched.

Pure: JSON in, JSON out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Fields", "layer", "layer_list", "place"]

Fields = dict[str, Any]


def place(path: str, value: Any) -> Fields:
    """Return a value at a dotted path, as nested mappings.

    Example:
        >>> place("masterConfig.imageUri", "gcr.io/x")
        {'masterConfig': {'imageUri': 'gcr.io/x'}}
    """
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


def layer(below: Mapping[str, Any], above: Mapping[str, Any]) -> Fields:
    """Lay `above` over `below`: mappings leaf by leaf, lists and scalars whole.

    Example:
        >>> layer({"a": {"x": 1, "y": [1]}}, {"a": {"y": [2]}})
        {'a': {'x': 1, 'y': [2]}}
    """
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = layer(old, value)
        else:
            merged[key] = value
    return merged


def layer_list(below: Mapping[str, Any], flags: Mapping[str, Any]) -> Fields:
    """Lay flags, by dotted path, over `below`; one that is None was not given."""
    merged = dict(below)
    for path, value in flags.items():
        if value is not None:
            merged = layer(merged, place(path, value))
    return merged
