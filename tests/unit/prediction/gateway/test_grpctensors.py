"""What a gRPC inference becomes on its way to a worker."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("grpc")
messages = pytest.importorskip("mlengine.prediction.gateway.grpcmessages")
tensors = pytest.importorskip("mlengine.prediction.gateway.grpctensors")


def test_an_output_comes_in_binary_whatever_its_parameter_says() -> None:
    request = messages.message("ModelInferRequest")(model_name="m")
    output = request.outputs.add(name="sum")
    output.parameters["binary_data"].bool_param = False
    output.parameters["content_type"].string_param = "np"
    length, body = tensors.rest_body(request)
    assert json.loads(body[:length])["outputs"] == [
        {"name": "sum", "parameters": {"binary_data": True, "content_type": "np"}}
    ]
