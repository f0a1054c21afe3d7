"""What the parameters and shapes of the Open Inference Protocol say is done, or refused."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any, cast

import pytest

from mlengine.runtime.dialects import Call, CallError, Reply, openinference
from mlengine.runtime.frameworks import Model
from mlengine.runtime.frameworks.signatures import Signature
from mlengine.runtime.frameworks.tensors import TensorSpec

BASE64 = {"content_type": "base64"}


class _Echo:
    """Gives back its one input, of any shape."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def describe(self) -> dict[str, Any]:
        return {"framework": "ONNX", "inputs": ["x"]}

    def signatures(self) -> dict[str, Signature]:
        spec = [TensorSpec("x", self.dtype, None)]
        return {"s": Signature("s", spec, spec)}

    def default_signature(self) -> str:
        return "s"

    def run(self, columns: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]:
        return columns


def infer(asked: dict[str, Any], tail: bytes = b"", *, dtype: str = "string") -> Reply:
    text = json.dumps(asked).encode()
    call = Call("openinference", "infer", json_bytes=len(text), body=text + tail)
    return openinference.answer(cast("Model", _Echo(dtype)), call)


def output(asked: dict[str, Any], tail: bytes = b"", *, dtype: str = "string") -> dict[str, Any]:
    (found,) = json.loads(infer(asked, tail, dtype=dtype).body)["outputs"]
    return cast("dict[str, Any]", found)


def texts(*data: str, **more: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "BYTES", "shape": [len(data)], "data": list(data), **more}


def packed(*items: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def matrix(shape: list[int], data: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP64", "shape": shape, "data": data}]}


HELLO = base64.b64encode(b"hello")
BINARY = {"name": "x", "datatype": "BYTES", "shape": [1]}
LENGTH = {"binary_data_size": len(packed(HELLO))}
WAYS: dict[str, tuple[dict[str, Any], bytes]] = {
    "on the input": ({"inputs": [texts(HELLO.decode(), parameters=BASE64)]}, b""),
    "on the request": ({"inputs": [texts(HELLO.decode())], "parameters": BASE64}, b""),
    "on a binary input": ({"inputs": [BINARY | {"parameters": BASE64 | LENGTH}]}, packed(HELLO)),
    "on the request of a binary input": (
        {"inputs": [BINARY | {"parameters": LENGTH}], "parameters": BASE64}, packed(HELLO)),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_base64_is_decoded_wherever_it_is_said(way: str) -> None:
    asked, tail = WAYS[way]
    assert output(asked, tail)["data"] == ["hello"]


def test_an_input_says_more_about_itself_than_the_request() -> None:
    plain = texts("aGk=", parameters={"content_type": "str"})
    assert output({"inputs": [plain], "parameters": BASE64})["data"] == ["aGk="]


def test_numbers_are_no_base64_whatever_a_request_says_of_its_texts() -> None:
    asked = matrix([2], [1.5, 2]) | {"parameters": BASE64}
    assert output(asked, dtype="float64")["data"] == [1.5, 2]


@pytest.mark.parametrize("where", ["input", "binary"])
def test_what_is_not_base64_is_named(where: str) -> None:
    tail = packed(b"no base64!") if where == "binary" else b""
    size = {"binary_data_size": len(tail)}
    tensor = BINARY | {"parameters": BASE64 | size} if tail else texts("no!", parameters=BASE64)
    with pytest.raises(CallError, match="input 'x' is not base64"):
        infer({"inputs": [tensor]}, tail)


def test_an_output_is_base64_where_it_is_asked_for_so() -> None:
    wanted = [{"name": "x", "parameters": BASE64}]
    found = output({"inputs": [texts("hello", "")], "outputs": wanted})
    assert found["data"] == [HELLO.decode(), ""]
    assert found["parameters"] == BASE64


def test_bytes_that_are_no_text_come_as_base64() -> None:
    tensor = texts(base64.b64encode(b"\xff").decode(), parameters=BASE64)
    wanted = [{"name": "x", "parameters": BASE64}]
    assert output({"inputs": [tensor], "outputs": wanted})["data"] == ["/w=="]


def test_base64_says_nothing_about_numbers_that_come_out() -> None:
    asked = matrix([1], [1.5]) | {"outputs": [{"name": "x", "parameters": BASE64}]}
    found = output(asked, dtype="float64")
    assert found["data"] == [1.5]
    assert "parameters" not in found


def test_over_grpc_base64_means_the_same() -> None:
    messages = pytest.importorskip("mlengine.prediction.gateway.grpcmessages")
    tensors = pytest.importorskip("mlengine.prediction.gateway.grpctensors")
    request = messages.message("ModelInferRequest")()
    tensor = request.inputs.add(name="x", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(HELLO)
    tensor.parameters["content_type"].string_param = "base64"
    json_bytes, body = tensors.rest_body(request)
    call = Call("openinference", "infer", json_bytes=json_bytes, body=body)
    reply = openinference.answer(cast("Model", _Echo("string")), call)
    said = tensors.read_answer(reply.body, int(reply.headers[openinference.HEADER]), typed=True)
    assert list(said.outputs[0].contents.bytes_contents) == [b"hello"]


@pytest.mark.parametrize(("shape", "data"), [
    ([2, 2], [[1, 2], [3, 4]]), ([2, 2], [1, 2, 3, 4]), ([1, 2, 1], [[[1], [2]]]), ([], [7]),
    ([2, 0], [[], []]), ([2, 0, 3], [[], []]), ([0, 4], []), ([2, 0], []),
])  # fmt: skip
def test_values_come_flat_or_nested_as_their_shape(shape: list[int], data: Any) -> None:
    assert output(matrix(shape, data), dtype="float64")["shape"] == shape


@pytest.mark.parametrize(("shape", "data", "nested"), [
    ([2, 4], [[1, 5], [2, 6], [3, 7], [4, 8]], "[4, 2]"),
    ([4], [[1, 2], [3, 4]], "[2, 2]"),
    ([1, 4], [[[1, 2], [3, 4]]], "[1, 2, 2]"),
    ([2, 2, 1], [[1, 2], [3, 4]], "[2, 2]"),
    ([0, 2], [[], []], "[2, 0]"),
])  # fmt: skip
def test_lists_that_contradict_the_shape_are_named(
    shape: list[int], data: Any, nested: str
) -> None:
    with pytest.raises(CallError) as caught:
        infer(matrix(shape, data), dtype="float64")
    assert f"input 'x' is nested as {nested}, its shape is {shape}" in str(caught.value)


@pytest.mark.parametrize("shape", [[92_275_807, 0], [64, 65, 0, 3], [2**31, 0]])
def test_lists_of_nothing_cost_no_more_than_was_sent(shape: list[int]) -> None:
    tensor = {"name": "x", "datatype": "BYTES", "shape": shape}
    for more in {"data": []}, {"parameters": {"binary_data_size": 0}}:
        with pytest.raises(CallError, match="lists of nothing: at most 4096 are read"):
            infer({"inputs": [{**tensor, **more}]})
    assert output({"inputs": [{**tensor, "shape": [0, 2**20], "data": []}]})["shape"] == [0, 2**20]


@pytest.mark.parametrize("data", [[[5.1, 3.5, 1.4], [0.2]], [[1, 2], 3], [[[1], [2]], [[3, 4]]]])
def test_ragged_lists_are_named(data: Any) -> None:
    with pytest.raises(CallError, match=r"of input 'x' is a ragged list, its shape is \[2, 2\]"):
        infer(matrix([2, 2], data), dtype="float64")
