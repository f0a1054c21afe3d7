"""The other dialects, from a caller's socket to a real model and back."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mlengine.prediction.gateway.dialects import read_path
from tests.fakes.gateway import Answer
from tests.fakes.served import Served, serve

HEADER = "inference-header-content-length"
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("iris", "calc", "image", "text")}
    iris(folders["iris"])
    calculator(folders["calc"])
    image(folders["image"])
    text(folders["text"])
    with serve(folders) as made:
        yield made


def iris(folder: Path) -> None:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    joblib.dump(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)),
                folder / "model.joblib")  # fmt: skip


def calculator(folder: Path) -> None:
    """Two inputs, two outputs: their sum and their difference."""
    io_ = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 2])
           for n in ("a", "b", "sum", "difference")]  # fmt: skip
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]),
             helper.make_node("Sub", ["a", "b"], ["difference"])]  # fmt: skip
    _save(folder, nodes, io_[:2], io_[2:])


def image(folder: Path) -> None:
    """The mean of each channel of an image of 2 × 3 pixels."""
    ins = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 2, 3, 3])
    out = helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["n", 3])
    # fmt: off
    nodes = [helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
             helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2], keepdims=0)]
    # fmt: on
    _save(folder, nodes, [ins], [out])


def text(folder: Path) -> None:
    """Gives back the strings that it takes."""
    ins = helper.make_tensor_value_info("t", TensorProto.STRING, ["n"])
    out = helper.make_tensor_value_info("t_bytes", TensorProto.STRING, ["n"])
    _save(folder, [helper.make_node("Identity", ["t"], ["t_bytes"])], [ins], [out])


def _save(folder: Path, nodes: list[Any], ins: list[Any], outs: list[Any]) -> None:
    graph = helper.make_graph(nodes, "g", ins, outs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _ok(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return answer.json


def _refused(answer: Answer, word: str, status: int = 400) -> None:
    assert answer.status == status, answer.body
    assert list(answer.json) == ["error"]
    assert word in answer.json["error"]


# --- TF Serving ---


@pytest.mark.parametrize("place", ["", "/versions/1", "/versions/v1", "/labels/v1"])
def test_tfserving_rows(served: Served, place: str) -> None:
    path = f"/v1/models/iris{place}:predict"
    answer = served.ask("POST", path, {"instances": ROWS})
    assert _ok(answer) == {"predictions": [0, 2]}
    assert answer.headers["x-mlengine-version"] == "projects/default/models/iris/versions/v1"
    assert answer.headers["content-type"] == "application/json"


def test_tfserving_rows_of_several_inputs_are_objects(served: Served) -> None:
    body = {"instances": [{"a": [1, 2], "b": [3, 4]}]}
    assert _ok(served.ask("POST", "/v1/models/calc:predict", body)) == {
        "predictions": [{"sum": [4, 6], "difference": [-2, -2]}]
    }


def test_tfserving_columns(served: Served) -> None:
    asked = {"inputs": {"a": [[1, 2]], "b": [[3, 4]]}, "signature_name": "serving_default"}
    assert _ok(served.ask("POST", "/v1/models/calc:predict", asked)) == {
        "outputs": {"sum": [[4, 6]], "difference": [[-2, -2]]}
    }
    bare = served.ask("POST", "/v1/models/iris:predict", {"inputs": ROWS})
    assert _ok(bare) == {"outputs": [0, 2]}


def test_tfserving_bytes_go_in_and_out_as_base64(served: Served) -> None:
    row = {"b64": "w6kA"}  # é and a zero byte
    path = "/v1/models/text:predict"
    assert _ok(served.ask("POST", path, {"instances": [row]})) == {"predictions": [row]}
    assert _ok(served.ask("POST", path, {"inputs": [row]})) == {"outputs": [row]}


def test_tfserving_status_and_metadata(served: Served) -> None:
    said = _ok(served.ask("GET", "/v1/models/iris"))
    assert said == _ok(served.ask("GET", "/v1/models/iris/versions/1"))
    assert said == {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE",
             "status": {"error_code": "OK", "error_message": ""}}
        ]
    }  # fmt: skip
    found = _ok(served.ask("GET", "/v1/models/calc/metadata"))
    assert found["model_spec"] == {"name": "calc", "signature_name": "", "version": "1"}
    signature = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["a"]["dtype"] == "DT_FLOAT"
    dims = signature["inputs"]["a"]["tensor_shape"]["dim"]
    assert [dim["size"] for dim in dims] == ["-1", "2"]
    assert sorted(signature["outputs"]) == ["difference", "sum"]


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        (":predict", {"instances": ROWS, "colour": 1}, "colour"),
        (":predict", {"instances": []}, "at least one"),
        (":predict", {"instances": [[1]]}, "expected"),
        (":predict", {}, "instances"),
        (":predict", {"instances": ROWS, "inputs": ROWS}, "one of them"),
        (":predict", {"inputs": [[1, 2], [3]]}, "ragged"),
        (":predict", b"{", "JSON"),
        (":predict", b"[1]", "object"),
        (":classify", {"examples": [{}]}, "Use predict"),
        (":regress", {"examples": [{}]}, "Use predict"),
    ],
)
def test_tfserving_refuses_by_name(served: Served, path: str, body: Any, word: str) -> None:
    _refused(served.ask("POST", "/v1/models/iris" + path, body), word)


def test_what_does_not_exist_is_said_as_the_dialects_say_it(served: Served) -> None:
    ask = served.ask
    _refused(ask("POST", "/v1/models/gone:predict", {"instances": ROWS}), "gone", 404)
    _refused(ask("POST", "/v1/models/iris/versions/9:predict", {"instances": ROWS}), "v9", 404)
    _refused(ask("GET", "/v1/models/gone"), "gone", 404)
    _refused(ask("GET", "/v1/models/iris/versions/9"), "v9", 404)
    _refused(ask("GET", "/v1/models/%2e%2e"), "..", 404)
    _refused(ask("GET", "/v1/models/iris:predict"), "POST", 405)
    _refused(ask("DELETE", "/v2/models/iris"), "GET", 405)
    _refused(ask("GET", "/v1/models/iris", token=""), "Authorization", 401)
    _refused(ask("GET", "/v2/models/iris", Host="evil.example"), "evil.example", 403)


# --- Open Inference Protocol ---


def _tensor(name: str, rows: Any, datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(np.shape(rows)), "data": rows, **more}


def _infer(served: Served, model: str, **asked: Any) -> Answer:
    return served.ask("POST", f"/v2/models/{model}/infer", asked)


def test_health_needs_no_token(served: Served) -> None:
    assert _ok(served.ask("GET", "/v2/health/live", token="")) == {"live": True}
    assert _ok(served.ask("GET", "/v2/health/ready", token="")) == {"ready": True}
    assert served.ask("HEAD", "/v2/health/live", token="").status == 200
    _refused(served.ask("GET", "/v2", token=""), "Authorization", 401)


def test_server_and_model_describe_themselves(served: Served) -> None:
    assert _ok(served.ask("GET", "/v2"))["extensions"] == ["binary_tensor_data"]
    assert _ok(served.ask("GET", "/v2/models/iris/ready")) == {"name": "iris", "ready": True}
    assert _ok(served.ask("GET", "/v2/models/calc/versions/v1")) == {
        "name": "calc", "versions": ["v1"], "platform": "onnx",
        "inputs": [{"name": n, "datatype": "FP32", "shape": [-1, 2]} for n in ("a", "b")],
        "outputs": [
            {"name": n, "datatype": "FP32", "shape": [-1, 2]} for n in ("sum", "difference")
        ],
    }  # fmt: skip
    _refused(served.ask("GET", "/v2/models/gone/ready"), "gone", 404)


def test_json_tensors_flat_or_nested(served: Served) -> None:
    nested = _infer(served, "iris", id="7", inputs=[_tensor("input", ROWS)])
    assert _ok(nested) == {
        "model_name": "iris", "model_version": "v1", "id": "7",
        "outputs": [{"name": "predict", "datatype": "INT64", "shape": [2], "data": [0, 2]}],
    }  # fmt: skip
    flat = _tensor("x", ROWS) | {"data": [value for row in ROWS for value in row]}
    assert _ok(_infer(served, "iris", inputs=[flat]))["outputs"] == nested.json["outputs"]


def test_outputs_are_chosen_by_name(served: Served) -> None:
    inputs = [_tensor("a", [[1, 2]], "FP32"), _tensor("b", [[3, 4]], "FP32")]
    said = _ok(_infer(served, "calc", inputs=inputs, outputs=[{"name": "difference"}]))
    assert said["outputs"] == [
        {"name": "difference", "datatype": "FP32", "shape": [1, 2], "data": [-2, -2]}
    ]
    _refused(_infer(served, "calc", inputs=inputs, outputs=[{"name": "product"}]), "product")


def _binary(served: Served, model: str, asked: dict[str, Any], *tensors: bytes) -> Answer:
    text = json.dumps(asked).encode()
    return served.ask(
        "POST", f"/v2/models/{model}/infer", b"".join((text, *tensors)),
        Inference_Header_Content_Length=str(len(text)),
        Content_Type="application/octet-stream",
    )  # fmt: skip


def test_binary_tensors_in_and_out(served: Served) -> None:
    arrays = {"a": np.array([[1, 2]], "<f4"), "b": np.array([[np.inf, 4]], "<f4")}
    inputs = [
        {"name": k, "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
        for k in arrays
    ]
    asked = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    answer = _binary(served, "calc", asked, *(v.tobytes() for v in arrays.values()))
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[HEADER])
    told = json.loads(answer.body[:length])
    assert [output["name"] for output in told["outputs"]] == ["sum", "difference"]
    assert all(output["parameters"] == {"binary_data_size": 8} for output in told["outputs"])
    got = np.frombuffer(answer.body[length:], "<f4").tolist()
    assert got == [np.inf, 6, -np.inf, -2]
    # JSON cannot carry infinity, and says how to get it
    asked["parameters"] = {}
    _refused(_binary(served, "calc", asked, *(v.tobytes() for v in arrays.values())), "binary")


def test_strings_go_in_binary_with_their_lengths(served: Served) -> None:
    data = b"".join(struct.pack("<I", len(text)) + text for text in (b"\xc3\xa9\x00", b"", b"ab"))
    tensor = {"name": "t", "datatype": "BYTES", "shape": [3],
              "parameters": {"binary_data_size": len(data)}}  # fmt: skip
    asked = {
        "inputs": [tensor],
        "outputs": [{"name": "t_bytes", "parameters": {"binary_data": True}}],
    }
    answer = _binary(served, "text", asked, data)
    assert answer.body[int(answer.headers[HEADER]) :] == data
    _refused(_binary(served, "text", asked, data.replace(b"\xa9", b"\xff")), "UTF-8")
    said = _ok(_infer(served, "text", inputs=[_tensor("t", ["ab", "é"], "BYTES")]))
    assert said["outputs"][0]["data"] == ["ab", "é"]


_GOOD = _tensor("input", ROWS)


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [_GOOD, _GOOD]}, "twice"),
        ({"inputs": [_GOOD | {"datatype": "BF16"}]}, "BF16"),
        ({"inputs": [_GOOD | {"datatype": "INT32"}]}, "INT32"),
        ({"inputs": [_GOOD | {"shape": [3, 4]}]}, "nested as [2, 4]"),
        ({"inputs": [_GOOD | {"shape": [3, 4], "data": [1.5] * 8}]}, "8 values"),
        ({"inputs": [_GOOD | {"shape": [2, -4]}]}, "shape"),
        ({"inputs": [_GOOD | {"shape": [2**40, 2**40]}]}, "shape"),
        ({"inputs": [_GOOD | {"data": 5}]}, "data"),
        ({"inputs": [_GOOD | {"colour": 5}]}, "colour"),
        ({"inputs": [_GOOD | {"parameters": {"shared_memory_region": "x"}}]}, "shared_memory"),
        ({"inputs": [_GOOD | {"parameters": {"binary_data_size": 8}}]}, "binary_data_size"),
        ({"inputs": [_tensor("x", [300], "UINT8")]}, "UINT8"),
        ({"inputs": [_tensor("x", [1e300], "FP32")]}, "FP32"),
        ({"inputs": [_tensor("x", [1], "BOOL")]}, "BOOL"),
        ({"inputs": [_tensor("x", [[1.0, 2.0]], "FP64")]}, "expected"),
        ({"inputs": [_GOOD], "parameters": {"sequence_id": 5}}, "sequence_id"),
        ({"inputs": [_GOOD], "parameters": {"binary_data_output": 1}}, "true or false"),
        ({"inputs": [_GOOD], "outputs": [{"name": "predict", "parameters": {"classification": 1}}]},
         "classification"),
        ({"inputs": [_GOOD], "id": 5}, "id"),
        ({"inputs": [_GOOD], "colour": 5}, "colour"),
    ],
)  # fmt: skip
def test_open_inference_refuses_by_name(served: Served, asked: Any, word: str) -> None:
    _refused(_infer(served, "iris", **asked), word)


@pytest.mark.parametrize("length", ["999999", "x", "-1", "9" * 5000])
def test_a_length_that_lies_is_refused(served: Served, length: str) -> None:
    answer = served.ask("POST", "/v2/models/iris/infer", {"inputs": [_GOOD]},
                        Inference_Header_Content_Length=length)  # fmt: skip
    _refused(answer, "Inference-Header-Content-Length")


@pytest.mark.parametrize(
    ("size", "sent"), [(8, b"1234567"), (7, b"1234567"), (8, b"12345678" * 2), (-1, b"")]
)
def test_binary_sizes_that_lie_are_refused(served: Served, size: int, sent: bytes) -> None:
    tensor = {"name": "a", "datatype": "FP32", "shape": [1, 2],
              "parameters": {"binary_data_size": size}}  # fmt: skip
    _refused(_binary(served, "calc", {"inputs": [tensor]}, sent), "bytes" if size >= 0 else "size")


# --- raw bodies ---


def _png(*, mode: str = "RGB", size: tuple[int, int] = (3, 2), kind: str = "PNG") -> bytes:
    from PIL import Image

    written = io.BytesIO()
    Image.new(mode, size, 7 if mode == "L" else (10, 20, 30)).save(written, kind)
    return written.getvalue()


def _deep_png(colours: int) -> bytes:
    """Three pixels by two of 16 bits a channel, which Pillow writes of greys only."""
    kind = {1: 0, 3: 2}[colours]
    row = b"\0" + struct.pack(f">{3 * colours}H", *range(256, 256 + 3 * colours))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 3, 2, 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * 2)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


PREDICT = "/v1/projects/default/models/{}:predict"


def test_an_image_is_one_instance(served: Served) -> None:
    path = PREDICT.format("image")
    rows = _ok(served.ask("POST", path, _png(), Content_Type="image/png"))
    assert rows == {"predictions": [{"mean": [10, 20, 30]}]}
    grey = _ok(served.ask("POST", path, _png(mode="L"), Content_Type="Image/PNG; q=1"))
    assert grey == {"predictions": [{"mean": [7, 7, 7]}]}
    jpeg = _ok(served.ask("POST", path, _png(kind="JPEG"), Content_Type="application/octet-stream"))
    np.testing.assert_allclose(jpeg["predictions"][0]["mean"], [10, 20, 30], atol=2)
    # the head was the same, the body not: neither answer is the other's
    again = _ok(served.ask("POST", path, _png(), Content_Type="image/png"))
    assert again == rows


def test_bytes_are_one_instance_of_a_model_of_strings(served: Served) -> None:
    path = PREDICT.format("text")
    said = _ok(served.ask("POST", path, b"\xc3\xa9\0", Content_Type="application/octet-stream"))
    assert said == {"predictions": [{"t_bytes": {"b64": "w6kA"}}]}
    as_json = _ok(served.ask("POST", path, {"instances": [{"b64": "w6kA"}]}))
    assert as_json == said


@pytest.mark.parametrize(
    ("model", "kind", "body", "word"),
    [
        ("image", "image/png", _png(size=(4, 2)), "4 × 2"),
        ("image", "image/jpeg", _png(), "no image"),
        ("image", "image/png", _png()[:40], "image"),
        ("image", "image/png", b"", "no image"),
        ("image", "image/png", _deep_png(1), "16 bits a channel"),
        ("image", "application/octet-stream", _deep_png(3), "16 bits a channel"),
        ("iris", "image/png", _png(), "instances"),
        ("calc", "application/octet-stream", b"x", "instances"),
    ],
)
def test_what_is_no_instance_is_refused_in_googles_envelope(
    served: Served, model: str, kind: str, body: bytes, word: str
) -> None:
    answer = served.ask("POST", PREDICT.format(model), body, Content_Type=kind)
    assert answer.status == 400
    assert answer.json["error"]["status"] == "INVALID_ARGUMENT"
    assert word in answer.json["error"]["message"]


# --- paths ---


@given(st.lists(st.sampled_from(["v1", "v2", "models", "m", "versions", "labels", "x:predict", "",
                                 "infer", "ready", "health", "live", "metadata", "%2f", "é", ":"]),
                max_size=7))  # fmt: skip
def test_a_path_means_one_thing_or_nothing(parts: list[str]) -> None:
    asked = read_path(("/" + "/".join(parts)).encode())
    if asked is not None:
        assert parts[0] in ("v1", "v2")
        assert asked.is_open(b"GET") == (parts[:2] == ["v2", "health"])
        assert not asked.is_open(b"POST")
        assert asked.method in (b"GET", b"POST")
