"""What is done to one object by its name: read what it is, change that, remove, copy, compose."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import msgspec

from mlengine.core.errors import InvalidArgument
from mlengine.storage.gcs.conditions import Conditions, whole_number
from mlengine.storage.gcs.messages import (
    Request,
    Response,
    Unsupported,
    empty,
    json_body,
    json_response,
)
from mlengine.storage.gcs.resources import changed_record, object_resource, says_something
from mlengine.storage.gcs.shelves import Shelf, Stored
from mlengine.storage.gcs.uploads import store_object

__all__ = [
    "compose_object",
    "copy_object",
    "delete_object",
    "describe_object",
    "move_object",
    "patch_object",
    "rewrite_object",
]

_CHUNK_BYTES = 1 << 20
_MAX_COMPONENTS = 32
_REFUSED = ("destinationKmsKeyName", "destinationPredefinedAcl", "kmsKeyName", "predefinedAcl")


def describe_object(shelf: Shelf, name: str, request: Request) -> Response:
    """Answer what an object is."""
    stored = shelf.find(name, generation=whole_number(request.query, "generation"))
    conditions = Conditions.of(request.query, request.headers)
    if not conditions.fails(stored.facts) and conditions.is_unchanged(stored.facts):
        return empty(304, {"ETag": stored.facts.etag})
    conditions.check(stored.facts)
    return json_response(object_resource(stored, request.origin), request)


def patch_object(shelf: Shelf, name: str, request: Request) -> Response:
    """Change what is said of an object; ``PUT`` says all of it anew."""
    _refuse(request)
    body, is_whole = json_body(request), request.method == "PUT"
    stored = shelf.update(
        name,
        lambda record: changed_record(record, body, is_whole=is_whole),
        Conditions.of(request.query, request.headers),
        generation=whole_number(request.query, "generation"),
    )
    return json_response(object_resource(stored, request.origin), request)


def delete_object(shelf: Shelf, name: str, request: Request) -> Response:
    """Remove an object."""
    conditions = Conditions.of(request.query, request.headers)
    shelf.delete(name, conditions, generation=whole_number(request.query, "generation"))
    return empty()


def copy_object(
    shelf: Shelf, name: str, target: Shelf, target_name: str, request: Request
) -> Response:
    """Copy an object whole."""
    stored = _copied(shelf, name, target, target_name, request)
    return json_response(object_resource(stored, request.origin), request)


def rewrite_object(
    shelf: Shelf, name: str, target: Shelf, target_name: str, request: Request
) -> Response:
    """Copy an object as ``rewrite`` does; it is always done at once."""
    stored = _copied(shelf, name, target, target_name, request)
    answer = {
        "kind": "storage#rewriteResponse",
        "totalBytesRewritten": str(stored.size),
        "objectSize": str(stored.size),
        "done": True,
        "resource": object_resource(stored, request.origin),
    }
    return json_response(answer, request)


def move_object(shelf: Shelf, name: str, target_name: str, request: Request) -> Response:
    """Copy an object within its bucket, then remove the source if nobody changed it meanwhile."""
    if name == target_name:
        raise InvalidArgument(f"{name[:200]!r} is there already.", "Choose another name.")
    source = shelf.find(name, generation=whole_number(request.query, "sourceGeneration"))
    stored = _copied(shelf, name, shelf, target_name, request)
    shelf.delete(name, Conditions(generation=source.generation))
    return json_response(object_resource(stored, request.origin), request)


def compose_object(shelf: Shelf, name: str, request: Request) -> Response:
    """Put objects of one bucket together, in the order in which they are named."""
    _refuse(request)
    body = json_body(request)
    said = body.get("destination")
    destination: dict[str, Any] = said if isinstance(said, dict) else {}
    with contextlib.ExitStack() as stack:
        opened = [_component(shelf, part, stack) for part in _components(body.get("sourceObjects"))]
        first = opened[0][1].record
        plain = msgspec.structs.replace(
            first, metadata={}, custom_time="", component_count=0, updated_ns=0
        )
        count = sum(stored.record.component_count or 1 for _file, stored in opened)
        record = changed_record(plain, destination)
        stored = store_object(
            shelf,
            name,
            _bytes_of([file for file, _stored in opened]),
            msgspec.structs.replace(record, component_count=count),
            Conditions.of(request.query, request.headers),
        )
    return json_response(object_resource(stored, request.origin), request)


def _copied(shelf: Shelf, name: str, target: Shelf, target_name: str, request: Request) -> Stored:
    _refuse(request)
    said = json_body(request)
    file, source = shelf.open(name, generation=whole_number(request.query, "sourceGeneration"))
    with file or contextlib.nullcontext():
        Conditions.of_source(request.query).check(source.facts)
        kept = msgspec.structs.replace(source.record, updated_ns=0, generation=0)
        # What the caller says of the copy replaces what is said of the source, all of it.
        record = changed_record(kept, said, is_whole=says_something(said))
        chunks = _bytes_of([file])
        return store_object(
            target, target_name, chunks, record, Conditions.of(request.query, request.headers)
        )


def _components(said: object) -> Sequence[dict[str, Any]]:
    if not isinstance(said, list) or not 0 < len(said) <= _MAX_COMPONENTS:
        raise InvalidArgument(
            f"A composition has 1 to {_MAX_COMPONENTS} parts.", field="sourceObjects"
        )
    for part in said:
        if not isinstance(part, dict) or not isinstance(part.get("name"), str):
            raise InvalidArgument("A part has no name.", field="sourceObjects")
    return said


def _component(
    shelf: Shelf, part: dict[str, Any], stack: contextlib.ExitStack
) -> tuple[BinaryIO | None, Stored]:
    file, stored = shelf.open(part["name"], generation=whole_number(part, "generation"))
    if file is not None:
        stack.enter_context(file)
    # TensorFlow leaves out the last letter, and Google does not mind.
    conditions = part.get("objectPreconditions") or part.get("objectPrecondition")
    if isinstance(conditions, dict):
        Conditions(generation=whole_number(conditions, "ifGenerationMatch")).check(stored.facts)
    return file, stored


def _bytes_of(files: Sequence[BinaryIO | None]) -> Iterator[bytes]:
    for file in files:
        while file is not None and (chunk := file.read(_CHUNK_BYTES)):
            yield chunk


def _refuse(request: Request) -> None:
    for name in _REFUSED:
        if request.query.get(name):
            raise Unsupported(f"These buckets have no {name}.", "Leave it out.", field=name)
