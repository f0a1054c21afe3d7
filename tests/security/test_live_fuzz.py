"""Requests made up from the engine's own OpenAPI document, right and wrong: no answer is a 500.

A few hundred, always the same; `python -m benchmarks.routefuzz` makes a hundred thousand.
"""

from __future__ import annotations

import json
from typing import Any, cast
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlengine.rest import ml_v1, own
from mlengine.rest.documents import openapi_document
from tests.live.engines import LiveEngine
from tests.security.wire import send

DOCUMENT = openapi_document((*ml_v1.ROUTES, *own.ROUTES))
OPERATIONS = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int | str,
         "number": (int, float)}  # fmt: skip
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)
WORDS = st.sampled_from(["", "a", "gs://fuzz/a", "1.15", "-1", "2026-01-01T00:00:00Z", "RUNNING"])
# What other tests have made may be read here, and nothing else done to it.
READ = st.sampled_from(["default", "line", "v1", "mine", "fuzz"])
NAMES = st.sampled_from(["fuzz", "fuzz_2", "fuzz-3"]) | st.text(min_size=1, max_size=5)


def schema(of: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in of:
        return of
    return cast("dict[str, Any]", DOCUMENT["components"]["schemas"][of["$ref"].rpartition("/")[2]])


def values(of: dict[str, Any], depth: int = 3) -> st.SearchStrategy[Any]:
    """Values that a schema allows, for the most part."""
    of = schema(of)
    kind = of.get("type")
    if kind == "object" and depth and of.get("properties"):
        fields = {name: values(one, depth - 1) for name, one in of["properties"].items()}
        right: st.SearchStrategy[Any] = st.fixed_dictionaries({}, optional=fields)
    elif kind == "array" and depth:
        right = st.lists(values(of.get("items", {}), depth - 1), max_size=2)
    else:
        right = {
            "string": WORDS | st.text(max_size=9), "boolean": st.booleans(),
            "integer": st.integers(-2, 70_000), "number": st.floats(allow_nan=False),
            "object": st.dictionaries(WORDS, ODD, max_size=2), "array": st.lists(ODD, max_size=2),
        }.get(kind or "", ODD)  # fmt: skip
    return st.one_of(right, right, right, ODD)


def fits(value: Any, of: dict[str, Any]) -> bool:
    """Whether an answer has the form that the document promises."""
    of = schema(of)
    if "type" in of and not isinstance(value, TYPES[of["type"]]):
        return False
    if isinstance(value, dict):
        known = of.get("properties", {})
        return all(fits(item, known[key]) for key, item in value.items() if key in known)
    items = value if isinstance(value, list) else []
    return all(fits(item, of.get("items", {})) for item in items)


def promised(operation: dict[str, Any], status: int) -> dict[str, Any]:
    response = operation["responses"]["200" if status == 200 else "default"]
    return cast("dict[str, Any]", response.get("content", {}).get("application/json", {}))


@given(st.sampled_from(OPERATIONS), st.data())
@settings(max_examples=400, derandomize=True, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
def test_no_request_is_too_much(
    serving: LiveEngine, operation: tuple[str, str, Any], data: st.DataObject
) -> None:
    method, path, said = operation
    names = READ | NAMES if method == "GET" or path.endswith(("predict", "explain")) else NAMES
    query = {}
    for parameter in said.get("parameters", []):
        if parameter["in"] == "path":
            made = data.draw(names)
            path = path.replace("{%s}" % parameter["name"], quote(made, safe=""))  # noqa: UP031
        elif data.draw(st.booleans()):
            query[parameter["name"]] = data.draw(WORDS | st.text(max_size=9))
    content = said.get("requestBody", {}).get("content", {})
    body = None
    if "application/json" in content:
        body = json.dumps(data.draw(values(content["application/json"]["schema"]))).encode()
    elif content:
        body = data.draw(st.binary(max_size=50))
    target = path + ("?" + urlencode(query) if query else "")
    kind = next(iter(content), "")
    if kind == "multipart/mixed":
        part = data.draw(st.sampled_from([b"", b"GET /v1/x HTTP/1.1", b"GET //[ HTTP/1.1"]))
        body = b"--b\r\n\r\n%b%b\r\n--b--" % (part, body)
        kind += "; boundary=b"
    headers = {"Content_Type": kind} if kind else {}
    answer = send(serving, method, target, body, **headers)
    assert answer.status < 500, (method, target, body, answer.text)
    if "schema" in (form := promised(said, answer.status)) and answer.status != 401:
        assert fits(answer.json, form["schema"]), (method, target, body, answer.text)


def test_the_document_describes_every_form() -> None:
    kinds = {schema(one).get("type") for one in DOCUMENT["components"]["schemas"].values()}
    assert kinds <= set(TYPES)


@pytest.fixture(scope="module", autouse=True)
def still_up(serving: LiveEngine) -> Any:
    yield
    assert serving.running and serving.client.status()
