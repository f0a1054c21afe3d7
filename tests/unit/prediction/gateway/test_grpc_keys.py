"""Keys at the gRPC door: what is granted, and what is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from mlengine.core.access import token_digest
from mlengine.prediction.control import ensure_gateway
from mlengine.prediction.gateway.doors import Doors
from mlengine.prediction.routing import Grant
from tests.fakes.gateway import MODEL, TOKEN, Door, open_door

grpc = pytest.importorskip("grpc")
messages = pytest.importorskip("mlengine.prediction.gateway.grpcmessages")

KEYS = {
    "two": Grant(key="two", models=[MODEL], requests_per_second=0.001, burst=2),
    "other": Grant(key="other", projects=["q"]),
    "late": Grant(key="late", projects=["p"], expires=1.0),
}


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with open_door() as opened:
        opened.control.shutdown(timeout_s=10)
        grants = {token_digest(text): grant for text, grant in KEYS.items()}
        opened.snapshot = msgspec.structs.replace(opened.snapshot, project="p", grants=grants)
        opened.control.save(opened.snapshot)
        opened.info = ensure_gateway(opened.run_dir, doors=Doors("", "", 0))
        yield opened


def call(door: Door, verb: str, key: str, /, **fields: Any) -> Any:
    """Return the answer, or the code that it was refused with."""
    request, reply = messages.message(f"{verb}Request"), messages.message(f"{verb}Response")
    with grpc.insecure_channel(f"127.0.0.1:{door.info.grpc_port}") as channel:
        ask = channel.unary_unary(
            f"/{messages.SERVICE}/{verb}", request_serializer=request.SerializeToString,
            response_deserializer=reply.FromString,
        )  # fmt: skip
        try:
            metadata = (("authorization", f"Bearer {key}"),)
            return ask(request(**fields), metadata=metadata, timeout=30)
        except grpc.RpcError as error:
            return error.code().name


def test_a_key_asks_what_it_covers_and_cannot_tell_what_else_there_is(door: Door) -> None:
    assert call(door, "ModelReady", "two", name="census").ready
    for model in ("census", "nothing"):
        assert call(door, "ModelReady", "other", name=model) == "PERMISSION_DENIED"
        assert call(door, "ModelMetadata", "other", name=model) == "PERMISSION_DENIED"
        assert call(door, "ModelInfer", "other", model_name=model) == "PERMISSION_DENIED"
    assert call(door, "ModelReady", "two", name="nothing") == "PERMISSION_DENIED"
    assert call(door, "ModelReady", "late", name="census") == "UNAUTHENTICATED"
    assert call(door, "ModelReady", TOKEN, name="nothing") == "NOT_FOUND"


def test_a_quota_is_of_all_doors(door: Door) -> None:
    body = json.dumps({"instances": [1]}).encode()
    path = f"/v1/{MODEL}:predict"
    assert door.ask("POST", path, body, token="two").status == 200
    # The scripted worker cannot speak of metadata; but it was asked.
    assert call(door, "ModelMetadata", "two", name="census") != "RESOURCE_EXHAUSTED"
    assert call(door, "ModelInfer", "two", model_name="census") == "RESOURCE_EXHAUSTED"
    assert door.ask("POST", path, body, token="two").status == 429
