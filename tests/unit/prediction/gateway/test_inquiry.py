"""Whoever asks, and in whatever dialect: one answer, then what the version's log asks for."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from mlengine.core.errors import EngineError, Unavailable
from mlengine.prediction.gateway.dialects import Asked
from mlengine.prediction.gateway.dialogue import Dialogue
from mlengine.prediction.gateway.explanation import Explanation
from mlengine.prediction.gateway.inquiry import Inquiry
from mlengine.prediction.routing import Grant, PredictTarget
from mlengine.runtime.callframe import join_call

MODEL = "projects/p/models/m"
VERSION = f"{MODEL}/versions/v1"
BODY, ANSWER = b'{"instances": [1]}', b'{"predictions": [1]}'
IN_WORDS = join_call({"content_type": "application/json"}, ANSWER)
ID = b"x-mlengine-prediction-id: 0-v1--1\r\n"


class Log:
    """Keeps each of `share`, and notes what it is given in the order of all that happens."""

    def __init__(self, said: list[Any], share: float, *, access: bool) -> None:
        self.said, self.share, self.access = said, share, "somewhere" if access else ""
        self.fresh_ids: list[str] = []

    def chooses(self) -> bool:
        return self.share >= 1.0

    def new_id(self) -> str:
        return "0-v1--1"

    def keep(self, prediction_id: str, body: bytes, answer: bytes | None) -> None:
        self.said.append(("row", prediction_id, body, answer))

    def visit(self, status: int, _taken_s: float, **said: Any) -> None:
        self.said.append(("visit", status, *said.values()))


class Connection:
    """Notes what it is to say."""

    def __init__(self, share: float = 1.0, *, access: bool = False, logs: bool = True) -> None:
        self.said: list[Any] = []
        found = {VERSION: Log(self.said, share, access=access)} if logs else {}
        self.server: Any = SimpleNamespace(
            logs=SimpleNamespace(found=found), fine_s=lambda: 5.0, count_refusal=lambda _: None
        )

    def answer(
        self, _inquiry: object, /, status: int, body: bytes, version: str = "", lines: bytes = b"",
        head: bytes = b"",
    ) -> None:  # fmt: skip
        assert version or head, "the answer says who made it"
        self.said.append(("answer", status, lines))

    def answer_error(
        self, _inquiry: object, /, error: EngineError, *, version: str = "", lines: bytes = b""
    ) -> None:
        self.said.append(("answer", error.http_status, lines))


def ask(kind: str, connection: Connection, grant: Grant | None = None) -> Inquiry:
    target = PredictTarget(MODEL, "")
    if kind in ("plain", "explanation"):
        made = Inquiry if kind == "plain" else Explanation
        inquiry = made(connection, target, [], BODY, keep=True, grant=grant)
    else:
        made_of: Any = Dialogue
        if kind == "grpc":
            made_of = pytest.importorskip("mlengine.prediction.gateway.grpcfront")._GrpcCall
        operation = "metadata" if kind == "signature" else "infer"
        inquiry = made_of(
            connection, target, [], BODY, keep=True, grant=grant, method=b"POST",
            asked=Asked("openinference", operation, b"POST", "m"),
        )  # fmt: skip
    inquiry.version = VERSION
    return inquiry


def payload(kind: str) -> bytes:
    return ANSWER if kind in ("plain", "explanation") else IN_WORDS


@pytest.mark.parametrize("kind", ["plain", "dialogue", "grpc"])
def test_an_answer_is_out_before_its_row(kind: str) -> None:
    connection = Connection(access=True)
    grant = Grant(key="k")
    ask(kind, connection, grant).answered(200, payload(kind))
    (_answer, status, lines), row, visit = connection.said
    assert status == 200 and ID in lines
    assert row == ("row", "0-v1--1", BODY, ANSWER)
    assert visit == ("visit", 200, len(BODY), len(ANSWER), "k", "0-v1--1")


@pytest.mark.parametrize("kind", ["plain", "dialogue", "grpc"])
@pytest.mark.parametrize("how", ["refused", "died"])
def test_what_fails_is_a_row_without_an_answer(kind: str, how: str) -> None:
    connection = Connection()
    inquiry = ask(kind, connection)
    if how == "died":
        inquiry.failed(Unavailable("It died."))
    else:
        inquiry.answered(400, payload(kind))
    (_answer, status, _lines), row = connection.said
    assert status == (503 if how == "died" else 400)
    assert row == ("row", "0-v1--1", BODY, None)


@pytest.mark.parametrize("kind", ["dialogue", "grpc"])
def test_words_that_are_none_are_told_and_kept_once(kind: str) -> None:
    connection = Connection()
    ask(kind, connection).answered(200, b"no words")
    (_answer, status, _lines), row = connection.said
    assert (status, row[3]) == (500, None)


@pytest.mark.parametrize(("kind", "share", "logs"), [
    ("plain", 0.0, True), ("plain", 1.0, False), ("dialogue", 0.0, True), ("grpc", 0.0, True),
    ("explanation", 1.0, True), ("signature", 1.0, True),
])  # fmt: skip
def test_what_is_not_drawn_or_no_prediction_leaves_nothing(
    kind: str, share: float, logs: bool
) -> None:
    for name in ("", "7-v1--9"):  # a split's
        connection = Connection(share, logs=logs)
        inquiry = ask(kind, connection)
        inquiry.prediction_id = name
        inquiry.answered(200, payload(kind))
        assert len(connection.said) == 1
        assert (name.encode() in connection.said[0][2]) and inquiry.prediction_id == name


def test_whoever_awaits_is_told_once() -> None:
    grpcfront = pytest.importorskip("mlengine.prediction.gateway.grpcfront")

    async def run() -> None:
        caller = grpcfront._Awaiting(Connection().server)
        call = ask("grpc", caller)
        call.answered(400, join_call({"content_type": "application/json"}, b'{"error": "x"}'))
        call.failed(Unavailable("too late"))
        status, body = await caller.told
        assert (status, json.loads(body)) == (400, {"error": "x"})
        caller = grpcfront._Awaiting(Connection().server)
        ask("grpc", caller).failed(Unavailable("gone"))
        with pytest.raises(Unavailable, match="gone"):
            await caller.told

    asyncio.run(run())
