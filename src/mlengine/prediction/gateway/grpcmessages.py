"""The messages of the Open Inference Protocol's gRPC service, made from a table of their fields.

Names, numbers and types are those of the published protocol; a message on the wire is nothing else.
The descriptors lie in a pool of their own, beside those of whatever else this process has loaded.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["METHODS", "SERVICE", "message"]

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata",
           "ModelInfer")  # fmt: skip
"""Each takes a ``…Request`` and answers a ``…Response``."""

# Message → its fields in order: "type name" with "*" before what is repeated, "{}" for a map from
# strings, "?" for one of a choice. Numbers count from 1.
_TENSOR = ("string name", "string datatype", "*int64 shape", "{}InferParameter parameters",
           "InferTensorContents contents")  # fmt: skip
_MESSAGES: dict[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("bool live",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("bool ready",),
    "ModelReadyRequest": ("string name", "string version"),
    "ModelReadyResponse": ("bool ready",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("string name", "string version", "*string extensions"),
    "ModelMetadataRequest": ("string name", "string version"),
    "ModelMetadataResponse": (
        "string name", "*string versions", "string platform",
        "*ModelMetadataResponse.TensorMetadata inputs",
        "*ModelMetadataResponse.TensorMetadata outputs",
    ),
    "ModelMetadataResponse.TensorMetadata": ("string name", "string datatype", "*int64 shape"),
    "ModelInferRequest": (
        "string model_name", "string model_version", "string id", "{}InferParameter parameters",
        "*ModelInferRequest.InferInputTensor inputs",
        "*ModelInferRequest.InferRequestedOutputTensor outputs", "*bytes raw_input_contents",
    ),
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": (
        "string name", "{}InferParameter parameters",
    ),
    "ModelInferResponse": (
        "string model_name", "string model_version", "string id", "{}InferParameter parameters",
        "*ModelInferResponse.InferOutputTensor outputs", "*bytes raw_output_contents",
    ),
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "InferParameter": (
        "?bool bool_param", "?int64 int64_param", "?string string_param", "?double double_param",
        "?uint64 uint64_param",
    ),
    "InferTensorContents": (
        "*bool bool_contents", "*int32 int_contents", "*int64 int64_contents",
        "*uint32 uint_contents", "*uint64 uint64_contents", "*float fp32_contents",
        "*double fp64_contents", "*bytes bytes_contents",
    ),
}  # fmt: skip

_Field = descriptor_pb2.FieldDescriptorProto


def message(name: str) -> Any:
    """Return the class of a message.

    Example:
        >>> message("ServerLiveResponse")(live=True).SerializeToString()
        b'\\x08\\x01'
    """
    return _classes[f"{PACKAGE}.{name}"]


def _file() -> descriptor_pb2.FileDescriptorProto:
    made = descriptor_pb2.FileDescriptorProto(
        name="mlengine/open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    nodes: dict[str, Any] = {}
    for name, fields in _MESSAGES.items():
        outer, _dot, own = name.rpartition(".")
        node = nodes[outer].nested_type.add(name=own) if outer else made.message_type.add(name=own)
        nodes[name] = node
        for number, field in enumerate(fields, 1):
            _add(node, name, number, field)
    return made


def _add(node: Any, owner: str, number: int, text: str) -> None:
    kind, name = text.split()
    mark = next((m for m in ("*", "?", "{}") if kind.startswith(m)), "")
    kind = kind.removeprefix(mark)
    field = node.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if mark == "?":
        if not node.oneof_decl:
            node.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    elif mark == "*":
        field.label = _Field.LABEL_REPEATED
    elif mark == "{}":
        entry = node.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
        _set_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), kind)
        field.label = _Field.LABEL_REPEATED
        kind = f"{owner}.{entry.name}"
    _set_type(field, kind)


def _set_type(field: Any, kind: str) -> None:
    scalar = getattr(_Field, f"TYPE_{kind.upper()}", None)
    if scalar is not None:
        field.type = scalar
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


def _make() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return {
        f"{PACKAGE}.{name}": message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{PACKAGE}.{name}")
        )
        for name in _MESSAGES
    }


_classes = _make()
