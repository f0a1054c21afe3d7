"""Whether an answer has what ``fields`` asks for: a slip must not empty it silently."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.fields import Mask
from mlengine.core.wire import camel
from mlengine.rest.schemas import openapi_schemas

__all__ = ["selected"]


def selected(mask: Mask, response: str) -> Mask:
    """Return a mask with its names in camelCase; below an object of any content all are free.

    Args:
        mask: What the caller asks for.
        response: Name of the answer's schema.

    Raises:
        InvalidArgument: It names a field that the answer cannot have.

    Example:
        >>> selected({"jobs": {"job_id": {}}}, "ListJobsResponse")
        {'jobs': {'jobId': {}}}
    """
    return _below(mask, _schemas().get(response, {}), "")


@functools.cache
def _schemas() -> Mapping[str, Any]:
    return openapi_schemas(set())


def _below(mask: Mask, schema: Mapping[str, Any], at: str) -> Mask:
    schema = _whole(schema)
    while schema.get("type") == "array":
        schema = _whole(schema["items"])
    known = schema.get("properties")
    if not known:
        return mask
    found: Mask = {}
    for name, below in mask.items():
        key = name if name in known or name == "*" else camel(name)
        if key not in known and key != "*":
            raise InvalidArgument(
                f"Invalid field selection {at + name[:60]!r}.",
                f"{did_you_mean(name, known)}There are: {', '.join(known)}.",
                field="fields",
            )
        found[key] = _below(below, known.get(key, {}), f"{at}{name}/")
    return found


def _whole(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return _schemas()[name] if name else schema
