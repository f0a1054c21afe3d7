"""JSON schemas of the resources, in the two dialects that describe APIs.

Both come from the same walk over the classes of `core.resources` and its like: fields, types, and
which are output only.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Union

import msgspec

from mlengine.core import keys, policies, predictions, resources, studies, traffic
from mlengine.core.resources import Resource
from mlengine.engine import EngineStatus
from mlengine.rest.messages import HELD, MESSAGES
from mlengine.training.trials import hyperparameters

__all__ = ["discovery_schemas", "google_schema_name", "openapi_schemas"]

_LISTS = {
    "ListJobsResponse": ("jobs", "Job"),
    "ListModelsResponse": ("models", "Model"),
    "ListVersionsResponse": ("versions", "Version"),
    "ListOperationsResponse": ("operations", "Operation"),
    "ListLocationsResponse": ("locations", "Location"),
    "ListObjectsResponse": ("objects", "Object"),
    "ListBucketsResponse": ("buckets", "Bucket"),
    "ListRuntimesResponse": ("runtimes", "Runtime"),
    "ListStudiesResponse": ("studies", "Study"),
    "ListTrialsResponse": ("trials", "Trial"),
    "ListOptimalTrialsResponse": ("trials", "Trial"),
    "ListKeysResponse": ("keys", "Key"),
    "ListPredictionsResponse": ("predictions", "LoggedPrediction"),
}
_UNPAGED = (
    "ListStudiesResponse", "ListTrialsResponse", "ListOptimalTrialsResponse", "ListKeysResponse",
)  # fmt: skip
_OWN = (
    "Bucket", "Object", "LogEntry", "MetricSeries", "ListObjectsResponse", "ListBucketsResponse",
    "Runtime", "ListRuntimesResponse", "Key", "ListKeysResponse", "ListPredictionsResponse",
    *traffic.__all__, *predictions.__all__,
)  # fmt: skip
# Messages that Google nests in others, and keeps outside of the ml.v1 package.
_NESTED = {
    "HyperparameterMetric": "_HyperparameterOutput_HyperparameterMetric",
    "ScalingMetric": "__MetricSpec",
    "MetricSpec": "_StudyConfig_MetricSpec",
    "MetricValue": "_Measurement_Metric",
    "StudyParameter": "_StudyConfig_ParameterSpec",
    "TrialParameter": "_Trial_Parameter",
    "ParentIntValues": "_StudyConfigParameterSpec_MatchingParentIntValueSpec",
    "ParentNumericValues": "_StudyConfigParameterSpec_MatchingParentDiscreteValueSpec",
    "ParentTextValues": "_StudyConfigParameterSpec_MatchingParentCategoricalValueSpec",
    **{
        f"{kind}ValueSpec": f"_StudyConfigParameterSpec_{kind}ValueSpec"
        for kind in ("Categorical", "Discrete", "Double", "Integer")
    },
}
_PREFIXES = {
    "Operation": "GoogleLongrunning__",
    "ListOperationsResponse": "GoogleLongrunning__",
    "Status": "GoogleRpc__",
    "Empty": "GoogleProtobuf__",
    "HttpBody": "GoogleApi__",
    "Binding": "GoogleIamV1__",
    "Policy": "GoogleIamV1__",
    "SetIamPolicyRequest": "GoogleIamV1__",
    "TestIamPermissionsRequest": "GoogleIamV1__",
    "TestIamPermissionsResponse": "GoogleIamV1__",
}

# What goes as it comes: Google's document wraps it, and its clients unwrap it.
_RAW: dict[str, dict[str, Any]] = {
    "HttpBody": {"contentType": str, "data": str, "extensions": list[dict[str, Any]]},
    "PredictRequest": {"httpBody": "HttpBody"},
    "ExplainRequest": {"httpBody": "HttpBody"},
}

Reference = Callable[[str], dict[str, Any]]


def google_schema_name(name: str) -> str:
    """Return what the discovery document calls a schema: ``GoogleCloudMlV1__Job``."""
    if name in _NESTED:
        return "GoogleCloudMlV1" + _NESTED[name]
    return _PREFIXES.get(name, "GoogleCloudMlV1__") + name


def discovery_schemas(used: set[str]) -> dict[str, Any]:
    """Write the schemas of a discovery document.

    Args:
        used: Names that methods refer to; those without a class are described as any object.
    """

    def refer(name: str) -> dict[str, Any]:
        return {"$ref": google_schema_name(name)}

    found: dict[str, Any] = {}
    described = {k: v for k, v in _described(refer).items() if k not in _OWN}
    described |= {name: _message(fields, refer) for name, fields in _RAW.items()}
    for name in sorted(used | set(described)):
        schema = described.get(name, {"type": "object", "properties": {}})
        found[google_schema_name(name)] = {"id": google_schema_name(name), **schema}
    return found


def openapi_schemas(used: set[str]) -> dict[str, Any]:
    """Write the schemas of an OpenAPI 3.1 document."""

    def refer(name: str) -> dict[str, Any]:
        return {"$ref": f"#/components/schemas/{name}"}

    described = _described(refer)
    described["EngineStatus"] = _object(EngineStatus, refer)
    described["Health"] = {"type": "object", "properties": {"status": {"type": "string"}}}
    described["LogPage"] = {
        "type": "object",
        "properties": {
            "entries": {"type": "array", "items": refer("LogEntry")},
            "cursor": {"type": "string"},
            "finished": {"type": "boolean"},
        },
    }
    described["MetricsResponse"] = {
        "type": "object",
        "properties": {"metrics": {"type": "array", "items": refer("MetricSeries")}},
    }
    described["CollectEnvironmentsResponse"] = {
        "type": "object",
        "properties": {"freedBytes": {"type": "string", "format": "int64"}},
    }
    described["Error"] = _ERROR
    return {
        name: _in_openapi(described.get(name, {"type": "object"}))
        for name in sorted(used | set(described))
    }


_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "integer", "format": "int32"},
                "message": {"type": "string"},
                "status": {"type": "string"},
                "details": {"type": "array", "items": {"type": "object"}},
            },
        }
    },
}


def _described(refer: Reference) -> dict[str, dict[str, Any]]:
    found = {cls.__name__: _object(cls, refer) for cls in _classes()}
    found |= {name: _message(fields, refer) for name, fields in MESSAGES.items()}
    for name, (key, item) in _LISTS.items():
        properties: dict[str, Any] = {key: {"type": "array", "items": refer(item)}}
        if name not in _UNPAGED:
            properties["nextPageToken"] = {"type": "string"}
        if name == "ListOperationsResponse":
            properties["unreachable"] = {"type": "array", "items": {"type": "string"}}
        found[name] = {"type": "object", "properties": properties}
    return found


@functools.cache
def _classes() -> tuple[type[Resource], ...]:
    names: dict[str, Any] = {}
    for module in (resources, studies, traffic, keys, policies, predictions, hyperparameters):
        names |= vars(module)
    found = [c for c in names.values() if isinstance(c, type) and issubclass(c, Resource)]
    return tuple(c for c in found if c is not Resource)


def _object(cls: type[msgspec.Struct], refer: Reference) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    output_only: frozenset[str] = getattr(cls, "OUTPUT_ONLY", frozenset())
    properties: dict[str, Any] = {}
    for field in msgspec.structs.fields(cls):
        held = HELD.get((cls.__name__, field.encode_name), hints[field.name])
        schema = _held(held, refer)
        if field.name in output_only and "$ref" not in schema:
            schema["readOnly"] = True
        properties[field.encode_name] = schema
    about = (cls.__doc__ or "").strip().partition("\n")[0]
    return {"type": "object", "description": about, "properties": properties}


def _message(fields: Mapping[str, Any], refer: Reference) -> dict[str, Any]:
    properties = {name: _held(held, refer) for name, held in fields.items()}
    return {"type": "object", "properties": properties}


def _held(held: Any, refer: Reference) -> dict[str, Any]:
    if isinstance(held, str):
        return refer(held)
    if isinstance(held, list):
        return {"type": "array", "items": refer(held[0])}
    return _of(held, refer)


def _of(hint: Any, refer: Reference) -> dict[str, Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return {"type": "string", "format": "int64"}
    if origin in (Union, types.UnionType):
        return _of(next(a for a in args if a is not type(None)), refer)
    if origin is list:
        return {"type": "array", "items": _of(args[0], refer)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(args[1], refer)}
    if isinstance(hint, type) and issubclass(hint, Resource):
        return refer(hint.__name__)
    return dict(_SCALARS.get(hint, {"type": "any"}))


_SCALARS: dict[Any, dict[str, str]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "format": "int32"},
    float: {"type": "number", "format": "double"},
}


def _in_openapi(schema: Any) -> Any:
    """Turn the discovery dialect's ``any`` into OpenAPI's absence of a type."""
    if isinstance(schema, dict):
        return {k: _in_openapi(v) for k, v in schema.items() if (k, v) != ("type", "any")}
    return schema
