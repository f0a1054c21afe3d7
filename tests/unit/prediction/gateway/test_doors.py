"""TLS and gRPC: the other doors of a gateway, with a real model behind them."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from mlengine.client.http import HttpEngine
from mlengine.client.trust import Trust
from mlengine.core.errors import FailedPrecondition, InvalidArgument, Unavailable
from mlengine.prediction.gateway.doors import Doors
from mlengine.prediction.gateway.grpcmessages import METHODS, SERVICE, message
from tests.fakes.certificates import Certificate, certificate
from tests.fakes.gateway import TOKEN, head
from tests.fakes.served import Served, serve
from tests.unit.prediction.gateway.test_dialects import calculator, iris, text

ROW = [5.1, 3.5, 1.4, 0.2]
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doors")


@pytest.fixture(scope="module")
def pem(folder: Path) -> Certificate:
    return certificate(folder, "localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def served(folder: Path, pem: Certificate) -> Iterator[Served]:
    models = {"iris": iris, "calc": calculator, "text": text}
    for name, make in models.items():
        (folder / name).mkdir()
        make(folder / name)
    doors = Doors(tls_cert=str(pem.cert), tls_key=str(pem.key), grpc_port=0)
    with serve({name: folder / name for name in models}, doors=doors) as made:
        yield made


# --- TLS ---


def _talk(served: Served, context: ssl.SSLContext, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", served.port), timeout=TIMEOUT_S) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as wrapped:
            wrapped.sendall(sent)
            received = b""
            while piece := wrapped.recv(65_536):
                received += piece
            return received


def test_predictions_over_tls(served: Served, pem: Certificate) -> None:
    assert served.info.url.startswith("https://")
    body = json.dumps({"instances": [ROW]}).encode()
    path = "/v1/projects/default/models/iris:predict"
    sent = head("POST", path, length=len(body), Connection="close") + body
    context = ssl.create_default_context(cafile=str(pem.cert))
    assert _talk(served, context, sent).endswith(b'{"predictions":[0]}')


def test_an_older_tls_is_refused(served: Served, pem: Certificate) -> None:
    context = ssl.create_default_context(cafile=str(pem.cert))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        _talk(served, context, b"")


def test_plain_http_gets_no_answer_where_tls_is_spoken(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=TIMEOUT_S) as plain:
        plain.sendall(head("GET", "/healthz"))
        try:
            assert plain.recv(100) == b""
        except ConnectionResetError:
            pass


def test_clients_trust_whom_they_are_told_to(served: Served, pem: Certificate) -> None:
    url = served.info.url
    for trust in (Trust(ca=str(pem.cert)), Trust(pinned=str(pem.cert))):
        with HttpEngine(url, TOKEN, trust=trust) as engine:
            assert (
                engine.predict("default", "iris", "", b'{"instances": [[1, 2, 3, 4]]}').status
                == 200
            )
    with HttpEngine(url, TOKEN) as engine:
        with pytest.raises(Unavailable, match="MLENGINE_CA"):
            engine.predict("default", "iris", "", b"{}")
    with HttpEngine(url, TOKEN, trust=Trust(ca="/nonexistent.pem")) as engine:
        with pytest.raises(FailedPrecondition, match="nonexistent"):
            engine.predict("default", "iris", "", b"{}")


def test_a_pinned_certificate_takes_no_other(served: Served, tmp_path: Path) -> None:
    other = certificate(tmp_path, "127.0.0.1", "localhost")
    with HttpEngine(served.info.url, TOKEN, trust=Trust(pinned=str(other.cert))) as engine:
        with pytest.raises(Unavailable, match="certificate"):
            engine.predict("default", "iris", "", b"{}")


@pytest.mark.parametrize("doors", [Doors(tls_cert="a"), Doors(tls_key="a")])
def test_half_a_pair_is_refused(doors: Doors) -> None:
    with pytest.raises(InvalidArgument, match="TLS needs both"):
        doors.check()


def test_files_that_do_not_belong_together_are_refused(pem: Certificate, tmp_path: Path) -> None:
    other = certificate(tmp_path, "localhost")
    for cert, key in ((pem.cert, other.key), (pem.key, pem.cert), (tmp_path / "gone", pem.key)):
        with pytest.raises(FailedPrecondition, match="belong together"):
            Doors(tls_cert=str(cert), tls_key=str(key)).tls()
    assert Doors().tls() is None


# --- gRPC ---


class Stub:
    """Calls the service as any gRPC client would."""

    def __init__(self, channel: grpc.Channel, *metadata: tuple[str, str]) -> None:
        self._channel = channel
        self._metadata = metadata or (("authorization", f"Bearer {TOKEN}"),)

    def __call__(self, method: str, **fields: Any) -> Any:
        call = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=message(f"{method}Request").SerializeToString,
            response_deserializer=message(f"{method}Response").FromString,
        )
        request = message(f"{method}Request")(**fields)
        return call(request, metadata=self._metadata, timeout=TIMEOUT_S)

    def refused(self, method: str, **fields: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self(method, **fields)
        return caught.value.code(), caught.value.details()


@pytest.fixture(scope="module")
def channel(served: Served, pem: Certificate) -> Iterator[grpc.Channel]:
    credentials = grpc.ssl_channel_credentials(pem.cert.read_bytes())
    with grpc.secure_channel(f"localhost:{served.info.grpc_port}", credentials) as made:
        yield made


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> Stub:
    return Stub(channel)


def _input(name: str, datatype: str, shape: list[int], **contents: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
    return made | ({"contents": contents} if contents else {})


def test_the_server_and_its_models_describe_themselves(stub: Stub) -> None:
    assert stub("ServerLive").live
    assert stub("ServerReady").ready
    assert stub("ServerMetadata").name == "mlengine"
    assert stub("ModelReady", name="iris", version="1").ready
    found = stub("ModelMetadata", name="calc")
    assert [(t.name, t.datatype, list(t.shape)) for t in found.inputs] == [
        ("a", "FP32", [-1, 2]), ("b", "FP32", [-1, 2]),
    ]  # fmt: skip


def test_raw_tensors_are_answered_raw(stub: Stub) -> None:
    said = stub(
        "ModelInfer", model_name="calc", id="7",
        inputs=[_input("a", "FP32", [1, 2]), _input("b", "FP32", [1, 2])],
        raw_input_contents=[struct.pack("<2f", 1, 2), struct.pack("<2f", 3, 4)],
    )  # fmt: skip
    assert (said.model_name, said.model_version, said.id) == ("calc", "v1", "7")
    assert [output.name for output in said.outputs] == ["sum", "difference"]
    values = [struct.unpack("<2f", raw) for raw in said.raw_output_contents]
    assert values == [(4, 6), (-2, -2)]
    assert not any(output.HasField("contents") for output in said.outputs)


def test_typed_tensors_are_answered_typed(stub: Stub) -> None:
    said = stub("ModelInfer", model_name="iris",
                inputs=[_input("input", "FP64", [1, 4], fp64_contents=ROW)])  # fmt: skip
    assert list(said.outputs[0].contents.int64_contents) == [0]
    texts = [b"ab", "é".encode()]
    said = stub("ModelInfer", model_name="text", outputs=[{"name": "t_bytes"}],
                inputs=[_input("t", "BYTES", [2], bytes_contents=texts)])  # fmt: skip
    assert list(said.outputs[0].contents.bytes_contents) == texts


@pytest.mark.parametrize(
    ("inputs", "more", "word"),
    [
        ([], {}, "inputs"),
        ([_input("x", "FP64", [1, 4])], {}, "bytes"),
        ([_input("x", "FP16", [1, 4])], {}, "FP16"),
        ([_input("x", "INT8", [1], int_contents=[300])], {}, "INT8"),
        ([_input("x", "FP64", [1, 4], fp32_contents=ROW)], {}, "fp32_contents"),
        ([_input("x", "FP64", [1, 4], fp64_contents=ROW)], {"raw_input_contents": [b""]}, "raw"),
        ([_input("x", "FP64", [1, 4])], {"raw_input_contents": [b"", b""]}, "raw"),
        ([_input("x", "FP64", [1, 3])], {"raw_input_contents": [bytes(24)]}, "expected"),
        ([_input("x", "FP64", [1, 4], fp64_contents=ROW)],
         {"parameters": {"sequence_id": {"int64_param": 1}}}, "sequence_id"),
    ],
)  # fmt: skip
def test_what_is_no_inference_is_refused_by_name(
    stub: Stub, inputs: Any, more: Any, word: str
) -> None:
    code, details = stub.refused("ModelInfer", model_name="iris", inputs=inputs, **more)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert word in details


def test_what_does_not_exist_is_not_found(stub: Stub) -> None:
    for method, fields in (
        ("ModelReady", {"name": "gone"}),
        ("ModelMetadata", {"name": "iris", "version": "9"}),
        ("ModelInfer", {"model_name": "gone"}),
    ):
        code, _details = stub.refused(method, **fields)
        assert code is grpc.StatusCode.NOT_FOUND
    assert stub.refused("ModelReady")[0] is grpc.StatusCode.INVALID_ARGUMENT


CALLERS = {
    "no token": (("x", "y"),),
    "another token": (("authorization", "Bearer mle_other"),),
    "two tokens": (("authorization", f"Bearer {TOKEN}"),) * 2,
}


@pytest.mark.parametrize("metadata", CALLERS.values(), ids=CALLERS.keys())
@pytest.mark.parametrize("method", METHODS)
def test_every_method_asks_who_calls(channel: grpc.Channel, method: str, metadata: Any) -> None:
    stub = Stub(channel, *metadata)
    if method in ("ServerLive", "ServerReady"):
        stub(method)
    else:
        assert stub.refused(method)[0] is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", METHODS)
def test_no_page_may_call(channel: grpc.Channel, method: str) -> None:
    page = (("authorization", f"Bearer {TOKEN}"), ("origin", "http://evil.example"))
    assert Stub(channel, *page).refused(method)[0] is grpc.StatusCode.PERMISSION_DENIED


def test_what_the_service_has_not_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/inference.GRPCInferenceService/ModelUnload")(b"", timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message_are_an_error_and_no_more(
    channel: grpc.Channel, stub: Stub
) -> None:
    call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    for junk in (b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", b"\x2a\x05abc"):
        with pytest.raises(grpc.RpcError):
            call(junk, metadata=(("authorization", f"Bearer {TOKEN}"),), timeout=TIMEOUT_S)
    assert stub("ServerLive").live
