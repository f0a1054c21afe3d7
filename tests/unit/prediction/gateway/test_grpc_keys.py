"""Keys at the gRPC door: what is granted, what is left, and what the door takes of anybody."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from mlengine.core.access import token_digest
from mlengine.prediction.control import ensure_gateway
from mlengine.prediction.gateway.doors import Doors
from mlengine.prediction.routing import Grant, Limits, Snapshot
from tests.fakes.gateway import MODEL, TOKEN, Door, open_door

grpc = pytest.importorskip("grpc")
messages = pytest.importorskip("mlengine.prediction.gateway.grpcmessages")
grpcfront = pytest.importorskip("mlengine.prediction.gateway.grpcfront")

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


class Unsent:
    """A message that its caller has announced and not sent yet."""

    def __init__(self) -> None:
        self._go = threading.Event()
        self._message = b""

    def __iter__(self) -> Iterator[bytes]:
        assert self._go.wait(60)
        if self._message:
            yield self._message

    def send(self, message: bytes) -> None:
        self._message = message
        self._go.set()


@pytest.mark.parametrize("verb", ["ServerLive", "ServerReady"])
def test_what_anybody_may_ask_is_answered_without_its_message(door: Door, verb: str) -> None:
    unsent = Unsent()
    with grpc.insecure_channel(f"127.0.0.1:{door.info.grpc_port}") as channel:
        ask = channel.stream_unary(f"/{messages.SERVICE}/{verb}")
        reply = messages.message(f"{verb}Response").FromString(ask(iter(unsent), timeout=30))
    assert reply.live if verb == "ServerLive" else reply.ready
    unsent.send(b"")


def test_a_key_that_is_revoked_while_its_message_comes_opens_nothing(door: Door) -> None:
    unsent, live = Unsent(), messages.message("ServerLiveRequest")()
    asked = messages.message("ModelReadyRequest")(name="census").SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{door.info.grpc_port}") as channel:
        begun = channel.stream_unary(f"/{messages.SERVICE}/ModelReady").future(
            iter(unsent), metadata=(("authorization", "Bearer two"),), timeout=30
        )
        # One connection: what was begun first is looked at first.
        channel.unary_unary(f"/{messages.SERVICE}/ServerLive")(live.SerializeToString(), timeout=30)
        door.control.push(msgspec.structs.replace(door.snapshot, grants={}))
        unsent.send(asked)
        assert begun.code() is grpc.StatusCode.UNAUTHENTICATED
    door.control.push(door.snapshot)
    assert call(door, "ModelReady", "two", name="census").ready


def test_a_message_longer_than_any_version_takes_is_not_received(door: Door) -> None:
    longest = door.snapshot.limits.max_body_bytes
    for length, said in (longest + 1, "INVALID_ARGUMENT"), (11 * longest, "RESOURCE_EXHAUSTED"):
        tensors = {"inputs": [{"name": "x"}], "raw_input_contents": [bytes(length)]}
        assert call(door, "ModelInfer", TOKEN, model_name="census", **tensors) == said


def test_typed_contents_may_be_longer_than_the_body_that_they_become(door: Door) -> None:
    before, count = door.backends.answered(), door.snapshot.limits.max_body_bytes - 1000
    tensor = {"name": "x", "datatype": "INT8", "shape": [count]}
    tensor["contents"] = {"int_contents": [-1] * count}
    # The scripted worker knows no tensors; but it has got them.
    call(door, "ModelInfer", TOKEN, model_name="census", inputs=[tensor])
    assert door.backends.answered() == before + 1


def test_the_longest_message_is_that_of_the_longest_body() -> None:
    def longest(body_bytes: int) -> int:
        limits = msgspec.structs.replace(Limits(), max_body_bytes=body_bytes)
        options = dict(grpcfront._options(Snapshot(limits=limits), 4))
        return options["grpc.max_receive_message_length"] - (1 << 20)

    assert longest(1_500_000) == 15_000_000
    assert longest(1 << 29) == longest(1 << 30) == 1 << 30


def test_silent_connections_are_few_and_end() -> None:
    with open_door(header_timeout_s=1.0, max_connections=4) as narrow:
        narrow.control.shutdown(timeout_s=10)
        narrow.info = ensure_gateway(narrow.run_dir, doors=Doors("", "", 0))
        address = ("127.0.0.1", narrow.info.grpc_port)
        silent = [socket.create_connection(address, timeout=30) for _ in range(12)]
        held, refused = silent[:4], silent[4:]
        for one in refused:
            assert one.recv(1) == b"", "there are four already"
        assert narrow.ask("GET", "/healthz").status == 200
        for one in held:
            while one.recv(1000):
                pass  # its settings; then the end
        assert call(narrow, "ServerLive", TOKEN).live
        for one in silent:
            one.close()
