"""Which URLs predict, and which version answers them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import EngineError, FailedPrecondition, InvalidArgument, NotFound
from mlengine.prediction.routing import (
    Limits,
    PredictTarget,
    Route,
    Snapshot,
    asks_explanation,
    decode_snapshot,
    encode_snapshot,
    find_version,
    parse_predict_path,
    read_snapshot,
)

M = "projects/p/models/m"
V = M + "/versions/v1"
SNAPSHOT = Snapshot(
    generation=7, token_digest="ab", engine_socket="/run/e.sock", limits=Limits(max_body_bytes=9),
    versions={V: Route("READY", ["/run/1.sock"]), f"{M}/versions/v2": Route("CREATING"),
              f"{M}/versions/v3": Route("UPDATING", ["/run/3.sock"]),
              f"{M}/versions/v4": Route("READY"), f"{M}/versions/v5": Route("FAILED", ["/x"])},
    models={M: V, "projects/p/models/empty": ""},
)  # fmt: skip

IDS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True)


@pytest.mark.parametrize(("path", "target"), [
    (b"/v1/projects/p/models/m:predict", PredictTarget(M, "")),
    (b"/v1/projects/p/models/m%3Apredict", PredictTarget(M, "")),
    (b"/v1/projects/p/models/m%3apredict", PredictTarget(M, "")),
    (b"/v1/projects/%70/models/%6d:predict", PredictTarget(M, "")),
    (b"/%761/projects/p/models/m:predict", PredictTarget(M, "")),
    (b"/%761/%70rojects/p/%6dodels/m/versions/v1:predict", PredictTarget(M, V)),
    (b"/v1/projects/p/models/m/versions/v1:predict", PredictTarget(M, V)),
    (b"/v1/projects/p/models/m%3aexplain", PredictTarget(M, "")),
    (b"/v1/projects/p/models/m/versions/v1:explain", PredictTarget(M, V)),
])  # fmt: skip
def test_predict_paths(path: bytes, target: PredictTarget) -> None:
    assert parse_predict_path(path) == target
    assert asks_explanation(path) == (b"explain" in path)


@pytest.mark.parametrize("path", [
    b"", b"/", b"v1/projects/p/models/m:predict", b"/v1/projects/p/models/m", b"/v1",
    b"/v1/projects/p/models/m:explains", b"/v1/projects/p/models/m:predict/",
    b"//v1/projects/p/models/m:predict", b"/v1/projects//models/m:predict",
    b"/v1/projects/p/models/m%2Fversions%2Fv1:predict", b"/v2/projects/p/models/m:predict",
    b"/v1/projects/p/models/..:predict", b"/v1/projects/p/models/m%00:predict",
    b"/v1/projects/p/models/m%253Apredict", b"/v1/projects/p/models/:predict",
    b"/v1/projects/P/models/m:predict", b"/v1/projects/p/jobs/m:predict",
    b"/v1/projects/p/models/m/operations/v1:predict", b"/v1/projects/p/models/m;x:predict",
    b"/v1/projects/p/models/m/versions/:predict", b"/v1/projects/p/models/m\xff:predict",
    b"/v1/projects/p/models/m\n:predict", b"/v1/projects/p/models/m:predict:predict",
])  # fmt: skip
def test_everything_else_is_left_to_the_engine(path: bytes) -> None:
    assert parse_predict_path(path) is None


@given(st.binary(max_size=200))
def test_no_path_makes_the_parser_fail(path: bytes) -> None:
    parse_predict_path(b"/v1/projects/p/models/" + path)


@given(IDS, IDS)
def test_names_come_back_as_they_are(model: str, version: str) -> None:
    path = f"/v1/projects/p/models/{model}/versions/{version}:predict".encode()
    found = parse_predict_path(path)
    assert found is not None
    assert found.version == f"{found.model}/versions/{version}"


@pytest.mark.parametrize(("target", "name"), [
    (PredictTarget(M, ""), V), (PredictTarget(M, V), V),
    (PredictTarget(M, f"{M}/versions/v3"), f"{M}/versions/v3"),
])  # fmt: skip
def test_a_served_version_is_found(target: PredictTarget, name: str) -> None:
    assert find_version(target, SNAPSHOT) == (name, SNAPSHOT.versions[name])


@pytest.mark.parametrize(("target", "error", "text"), [
    (PredictTarget("projects/p/models/x", ""), NotFound, '"x" was not found. Please create'),
    (PredictTarget("projects/q/models/m", ""), NotFound, "'mlengine models create m --project q'."),
    (PredictTarget("projects/default/models/m", ""), NotFound, "'mlengine models create m'."),
    (PredictTarget(M, f"{M}/versions/v9"), NotFound, "v9"),
    (PredictTarget("projects/p/models/empty", ""), FailedPrecondition, "no default version"),
    (PredictTarget(M, f"{M}/versions/v2"), FailedPrecondition, "CREATING, not READY. Wait until"),
    (PredictTarget(M, f"{M}/versions/v4"), FailedPrecondition, "not READY"),
    (PredictTarget(M, f"{M}/versions/v5"), FailedPrecondition, "FAILED, not READY. See its error"),
])  # fmt: skip
def test_what_is_not_served_says_why(
    target: PredictTarget, error: type[EngineError], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        find_version(target, SNAPSHOT)
    assert str(caught.value).startswith("Field: name Error: ")


def test_a_snapshot_survives_the_wire_and_the_file(tmp_path: Path) -> None:
    data = encode_snapshot(SNAPSHOT)
    assert b"\n" not in data
    assert decode_snapshot(data) == SNAPSHOT
    (tmp_path / "routing.json").write_bytes(data)
    assert read_snapshot(tmp_path / "routing.json") == SNAPSHOT


def test_without_a_file_nobody_is_let_in(tmp_path: Path) -> None:
    assert read_snapshot(tmp_path / "routing.json").token_digest == ""


@pytest.mark.parametrize("data", [b"", b"[]", b'{"versions": 3}', b"\xff"])
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="no routing snapshot"):
        decode_snapshot(data)
