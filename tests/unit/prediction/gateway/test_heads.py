"""A connection that remembers heads says what one says that reads every byte strictly."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.access import token_digest
from mlengine.core.errors import Unavailable
from mlengine.prediction.gateway import heads
from mlengine.prediction.gateway.answers import GoodHeads
from mlengine.prediction.gateway.burst import Burst
from mlengine.prediction.gateway.counts import AnswerCounts
from mlengine.prediction.gateway.desk import Desk
from mlengine.prediction.gateway.desks import Desks
from mlengine.prediction.gateway.guard import Guard
from mlengine.prediction.gateway.heads import HeadMemo, KnownHead
from mlengine.prediction.gateway.http1 import CallerConnection
from mlengine.prediction.gateway.quota import Quotas
from mlengine.prediction.gateway.vigil import Vigil
from mlengine.prediction.routing import Grant, Limits, PredictTarget, Snapshot, parse_predict_path

TOKEN = "mle_test"
PATH = "/v1/projects/p/models/m:predict"
HOST = "Host: localhost\r\n"
LINES = f"{HOST}Authorization: Bearer {TOKEN}\r\n"
KEYS = {
    "all": Grant(key="all", projects=["p"]),
    "quota": Grant(key="quota", models=["projects/p/models/m"], requests_per_second=0.1, burst=5),
    "short": Grant(key="short", projects=["p"], requests_per_second=0.1, burst=9, expires=100.0),
    "other": Grant(key="other", projects=["q"], models=["projects/p/models/mm"]),
}


def post(body: bytes, *, path: str = PATH, lines: str = LINES, length: int = -1) -> bytes:
    size = len(body) if length < 0 else length
    return f"POST {path} HTTP/1.1\r\n{lines}Content-Length: {size}\r\n\r\n".encode() + body


class Forgetful(HeadMemo):
    def find(self, head: bytes) -> KnownHead | None:
        return None


class Transport:
    def __init__(self) -> None:
        self.said = b""
        self.state = "open"
        self.reading = True

    def write(self, data: bytes) -> None:
        assert self.state == "open"
        self.said += data

    def is_closing(self) -> bool:
        return self.state in ("closed", "aborted")

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.state = "ended"

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Echo:
    """A shortcut that gives bodies back; of some it does not know at once that it cannot."""

    def read(self, body: bytes) -> bytes | None:
        return None if body.startswith(b"b") else body

    def count(self, asked: bytes) -> int:
        return 1

    def answer(self, asked: Sequence[bytes]) -> list[bytes | None]:
        return [None if one.startswith(b"c") else one for one in asked]


class Link:
    """The version's worker, who is given what waits for him, and its desk's own counts."""

    version = "v"
    last_use_s = 0.0

    def __init__(self, due: list[Any]) -> None:
        self.counts = AnswerCounts()
        self.submit = self.give = due.append
        self.at_desk = 0

    def used(self, requests: int) -> None:
        self.at_desk += requests

    def desk_opened(self, desk: Desk) -> None: ...
    def desk_closed(self) -> None: ...
    def desk_failed(self) -> None: ...


class Gateway:
    """One connection, and a worker that answers with the body when it is told to.

    With a desk, that one answers what the head alone lets it, at the end of a turn.
    """

    def __init__(self, memo: HeadMemo, *, has_desk: bool = False, **limits: Any) -> None:
        self.hits = 0
        self.now = 0.0
        self.due: list[Any] = []
        self.turn: list[Callable[[], None]] = []  # what the loop does at the end of this one
        snapshot = Snapshot(
            token_digest=token_digest(TOKEN), limits=Limits(**limits),
            grants={token_digest(text): grant for text, grant in KEYS.items()},
        )  # fmt: skip
        clock = lambda: self.now  # noqa: E731
        link = Link(self.due)
        loop: Any = SimpleNamespace(call_soon=self.turn.append)
        heads, burst = GoodHeads(b"date: today\r\n"), Burst()
        self.link = link
        self.server: Any = SimpleNamespace(
            heads=memo, limits=snapshot.limits, guard=Guard(snapshot, wall_s=clock), stopping=False,
            now_s=clock, wall_s=clock, quotas=Quotas(clock, wall_s=clock),
            date_line=b"date: today\r\n", good_heads=heads, burst=burst,
            idle_until_s=lambda: self.now + snapshot.limits.idle_timeout_s,
            may_be_in_lane=lambda known: self.desk if has_desk else None,
            engine_pool=None,
            logs=SimpleNamespace(found={}, times=False), count_refusal=lambda _: None,
            opened=lambda _: None, closed=lambda _: None,
            splits=SimpleNamespace(find=lambda _: None),
            switchboard=SimpleNamespace(
                snapshot=snapshot, target=parse_predict_path, link=lambda _: link
            ),
        )  # fmt: skip
        desks = Desks(loop=loop, burst=burst, vigil=Vigil(loop), books=self.server)
        self.server.desks = desks
        self.desk = desks.keep(link, Echo(), 0)
        self.transport = Transport()
        self.connection = CallerConnection(self.server)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def receive(self, data: bytes) -> None:
        self.connection.data_received(data)

    def answer(self) -> None:
        turn = self.turn[:]
        self.turn.clear()
        for work in turn:
            work()
        due = self.due[:]
        self.due.clear()
        for inquiry in due:
            if not inquiry.gone:
                inquiry.answered(200, inquiry.body)

    @property
    def state(self) -> tuple[bytes, str, bool]:
        return self.transport.said, self.transport.state, self.transport.reading


GOOD = [
    post(b"a"), post(b"bb"), post(b""), post(b"\r\n\r\n"), post(b"x\r\n\r\n" + post(b"a")),
    post(b"c", path=PATH + "?alt=json"),
    post(b"d", lines=LINES + "X: y\r\n"),
    post(post(b"a")[:-1]),
    *(post(b"k", lines=f"{HOST}Authorization: Bearer {key}\r\n")
      for key in ("all", "quota", "short")),
]  # fmt: skip
ODD = [
    post(b"a", lines="Host: localhost\r\n"),
    post(b"a", lines=LINES.replace(TOKEN, "nobody")),
    post(b"a", lines=LINES.replace(TOKEN, "other")),
    post(b"long" * 100, lines=LINES.replace(TOKEN, "other")),
    post(b"a", lines=LINES.replace(TOKEN, "other") + "Expect: 100-continue\r\n"),
    post(b"a", lines=LINES + "Connection: close\r\n"),
    post(b"a", lines=LINES + "Expect: 100-continue\r\n"),
    post(b"a", lines=LINES + "Content-Length: 1\r\n"),
    post(b"a", lines=LINES + "Transfer-Encoding: chunked\r\n"),
    post(b"a").replace(b"HTTP/1.1", b"HTTP/1.0"),
    post(b"a").replace(b"\r\n", b"\n"),
    post(b"long" * 100),
    f"POST {PATH} HTTP/1.1\r\n{LINES}Transfer-Encoding: chunked\r\n\r\n".encode()
    + b"1\r\na\r\n0\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\r\n", b"\r\n\r\n", b"\r", b"P", b"POST ",
]  # fmt: skip
CUT = post(b"", length=5)
MESSAGES = st.one_of(st.sampled_from(GOOD), st.sampled_from(GOOD), st.sampled_from([*ODD, CUT]))


@st.composite
def arrivals(draw: st.DrawFn) -> list[bytes]:
    """What data_received gets: messages, whole or cut, joined or not, some with a byte changed."""
    pieces: list[bytes] = []
    for message in draw(st.lists(MESSAGES, min_size=1, max_size=8)):
        data = bytearray(message)
        if draw(st.integers(0, 9)) == 0:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        end = bytes(data).find(b"\r\n\r\n") + 4
        cuts = {0, len(data)}
        how = draw(st.integers(0, 3))
        if how == 1 and end > 3:
            cuts.add(end)
        elif how == 2:
            cuts |= set(draw(st.lists(st.integers(0, len(data)), max_size=3)))
        edges = sorted(cuts)
        parts = [bytes(data[a:b]) for a, b in itertools.pairwise(edges)]
        if how == 3 and pieces:
            pieces[-1] += parts.pop(0)
        pieces += parts
    return pieces


def test_what_a_stopping_gateway_gave_up_is_not_answered_again() -> None:
    gateway = Gateway(HeadMemo())
    gateway.receive(post(b"a"))
    gateway.server.stopping = True
    gateway.connection.give_up(Unavailable("The gateway is stopping.", "Try again."))
    gateway.answer()
    assert gateway.transport.said.startswith(b"HTTP/1.1 503 ")
    assert gateway.transport.said.count(b"HTTP/1.1 ") == 1
    assert gateway.transport.state == "ended"


def test_a_known_head_without_its_body_is_told_that_the_gateway_stops() -> None:
    gateway = Gateway(HeadMemo())
    gateway.receive(post(b"a"))
    gateway.answer()
    gateway.receive(post(b"", length=1))
    gateway.server.stopping = True
    before = len(gateway.transport.said)
    gateway.connection.give_up(Unavailable("The gateway is stopping.", "Try again."))
    assert gateway.transport.said[before:].startswith(b"HTTP/1.1 503 ")


@given(
    arrivals(), st.lists(st.booleans(), min_size=8, max_size=8),
    st.lists(st.sampled_from([0.0, 0.0, 7.0, 40.0]), min_size=8, max_size=8),
)  # fmt: skip
def test_what_is_said_does_not_depend_on_the_memo(
    pieces: list[bytes], prompt: list[bool], pauses: list[float]
) -> None:
    """Also where keys expire and quotas are used up between two bytes."""
    memo = HeadMemo()
    warm = Gateway(memo)
    for message in GOOD:
        warm.receive(message)
        warm.answer()
    assert len(memo) == len(GOOD)
    quick, strict = Gateway(memo, max_body_bytes=300), Gateway(Forgetful(), max_body_bytes=300)
    for number, piece in enumerate(pieces):
        for gateway in (quick, strict):
            gateway.now += pauses[number % len(pauses)]
            gateway.receive(piece)
            if prompt[number % len(prompt)]:
                gateway.answer()
        assert quick.state == strict.state
    for gateway in (quick, strict):
        for _ in range(len(pieces) + 1):
            gateway.answer()
        gateway.now = 1000.0
        gateway.connection.tick(1000.0)
        gateway.answer()
    assert quick.state == strict.state


@given(arrivals(), st.lists(st.booleans(), min_size=8, max_size=8))
def test_what_is_said_does_not_depend_on_a_desk(pieces: list[bytes], prompt: list[bool]) -> None:
    """Also where a piece ends in the midst of a request, and where the desk cannot answer."""
    memo = HeadMemo()
    desk = Gateway(memo, has_desk=True, max_body_bytes=300)
    strict = Gateway(Forgetful(), max_body_bytes=300)
    for message in GOOD:  # what is known from now on is in a lane
        for gateway in (desk, strict):
            for _ in range(3):
                gateway.receive(message)
                gateway.answer()
    assert desk.state == strict.state
    assert desk.link.at_desk > 0
    for number, piece in enumerate(pieces):
        for gateway in (desk, strict):
            gateway.receive(piece)
            if prompt[number % len(prompt)]:
                gateway.answer()
        # A desk may answer sooner: what has come is to be answered after it.
        said = sorted((desk.transport.said, strict.transport.said), key=len)
        assert said[1].startswith(said[0])
    for gateway in (desk, strict):
        for _ in range(8 * len(pieces) + 1):  # a worker answers one of a connection at a time
            gateway.answer()
        gateway.now = 1000.0
        gateway.connection.tick(1000.0)
        gateway.answer()
    assert desk.state == strict.state


def test_what_stands_behind_a_refused_request_is_not_told_of() -> None:
    gateway = Gateway(HeadMemo())
    gateway.receive(post(b"a", lines=HOST) + b"\x00" + post(b"b"))
    assert gateway.transport.said.count(b"HTTP/1.1 ") == 1
    assert gateway.transport.said.startswith(b"HTTP/1.1 401")
    assert gateway.transport.state == "ended"


def test_a_known_head_is_not_read_again() -> None:
    memo = HeadMemo()
    gateway = Gateway(memo)
    for turn in range(3):
        for message in (post(b"aa"), post(b"bb")):
            gateway.receive(message)
            gateway.answer()
        assert len(memo) == 1, turn
    gateway.connection._parse = None  # type: ignore[assignment,method-assign]
    gateway.receive(post(b"cc"))
    gateway.answer()
    assert gateway.transport.said.count(b"HTTP/1.1 200 OK") == 7
    assert gateway.transport.said.endswith(b"cc")


def test_a_known_head_whose_body_comes_after_it_is_not_read_again_either() -> None:
    gateway = Gateway(HeadMemo())
    whole = post(b"aa")
    gateway.receive(whole[:-2])
    gateway.receive(whole[-2:])
    gateway.answer()
    gateway.connection._parse = None  # type: ignore[assignment,method-assign]
    gateway.receive(whole[:-2])
    gateway.connection.close_if_idle()  # a shutdown waits for it
    assert gateway.transport.state == "open"
    gateway.receive(whole[-2:])
    gateway.answer()
    assert gateway.transport.said.count(b"HTTP/1.1 200 OK") == 2


def test_a_body_that_never_follows_a_known_head_is_cut_off_in_time() -> None:
    gateway = Gateway(HeadMemo())
    gateway.receive(post(b"aa"))
    gateway.answer()
    gateway.receive(post(b"aa")[:-2])
    gateway.now = 59.0
    gateway.connection.tick(59.0)
    assert gateway.transport.state == "open"
    gateway.connection.tick(60.0)
    assert b"HTTP/1.1 408" in gateway.transport.said


def test_a_newer_snapshot_asks_again_even_between_a_head_and_its_body() -> None:
    gateway = Gateway(HeadMemo())
    gateway.receive(post(b"aa"))
    gateway.answer()
    gateway.receive(post(b"aa")[:-2])
    gateway.server.heads = HeadMemo()
    gateway.server.guard = Guard(Snapshot(token_digest=token_digest("another")))
    gateway.receive(b"aa")
    assert b"HTTP/1.1 401" in gateway.transport.said


@pytest.mark.parametrize(("lines", "limit", "status"), [
    ("", 300, b"200"), ("", 10, b"400"), ("Content-Type: application/x-pickle\r\n", 300, b"415"),
])  # fmt: skip
def test_a_body_that_a_newer_snapshot_lets_in_is_judged_as_any(
    lines: str, limit: int, status: bytes
) -> None:
    gateway = Gateway(HeadMemo())
    lines = LINES.replace(TOKEN, "other") + lines
    gateway.receive(post(b"x" * 19, lines=lines, length=20))  # the key does not cover it
    snapshot = Snapshot(
        limits=Limits(max_body_bytes=limit),
        grants={token_digest("other"): Grant(key="other", projects=["p"])},
    )
    gateway.server.guard, gateway.server.switchboard.snapshot = Guard(snapshot), snapshot
    gateway.receive(b"x")
    gateway.answer()
    assert gateway.transport.said.startswith(b"HTTP/1.1 " + status)


def test_refusals_are_not_noted() -> None:
    for message in ODD:
        gateway = Gateway(HeadMemo(), max_body_bytes=300)
        gateway.receive(message)
        gateway.answer()
        assert not len(gateway.server.heads), message


def test_the_memo_is_bounded_and_keeps_what_comes_often() -> None:
    memo = HeadMemo()
    known = KnownHead(PredictTarget("m", ""), [], 0)
    memo.note(b"often", known)
    for number in range(5 * heads._MAX_ENTRIES):
        memo.note(b"%d" % number, known)
        if number % 1000 == 0:
            assert memo.find(b"often") is known
        assert len(memo) <= 2 * heads._MAX_ENTRIES
    assert memo.find(b"1") is None
    for number in range(400):
        memo.note(b"%d" % number + b"x" * 30_000, known)
    assert sum(map(len, (*memo._young, *memo._old))) <= 2 * heads._MAX_BYTES


def test_a_known_head_takes_from_its_quota_every_time_and_keeps_its_connection() -> None:
    gateway = Gateway(HeadMemo())
    one = post(b"k", lines=f"{HOST}Authorization: Bearer quota\r\n")
    for _ in range(7):
        gateway.receive(one)
        gateway.answer()
    assert len(gateway.server.heads) == 1
    said = gateway.transport.said
    assert (said.count(b"HTTP/1.1 200"), said.count(b"HTTP/1.1 429")) == (5, 2)
    assert b"connection: close" not in said
    assert said.count(b"retry-after: 10\r\n") == 2
    left = [line for line in said.split(b"\r\n") if line.startswith(b"x-ratelimit-remaining")]
    assert left == [b"x-ratelimit-remaining: %d" % n for n in (4, 3, 2, 1, 0, 0, 0)]
    gateway.now += 10.0
    gateway.receive(one)
    gateway.answer()
    assert gateway.transport.said.endswith(b"k")


def test_a_known_head_whose_key_has_expired_is_nobodys() -> None:
    gateway = Gateway(HeadMemo())
    one = post(b"k", lines=f"{HOST}Authorization: Bearer short\r\n")
    gateway.receive(one)
    gateway.answer()
    gateway.now = 99.9
    gateway.receive(one)
    gateway.answer()
    gateway.now = 100.0
    gateway.receive(one)
    said = gateway.transport.said
    assert (said.count(b"HTTP/1.1 200"), said.count(b"HTTP/1.1 401")) == (2, 1)
    assert b"has expired" in said


def test_who_may_not_ask_hears_the_same_whether_there_is_such_a_model_or_not() -> None:
    gateway = Gateway(HeadMemo())
    lines = f"{HOST}Authorization: Bearer other\r\n"
    for id_ in ("m", "n"):
        gateway.receive(post(b"a", path=f"/v1/projects/p/models/{id_}:predict", lines=lines))
    gateway.receive(post(b"a", path="/v1/projects/q/models/m:predict", lines=lines))
    gateway.answer()
    first, second, third = gateway.transport.said.split(b"HTTP/1.1 ")[1:]
    assert (first[:3], second[:3], third[:3]) == (b"403", b"403", b"200")
    assert first == second.replace(b"models/n", b"models/m")
    assert not gateway.server.heads.find(
        post(b"a", lines=lines).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    )


@pytest.mark.parametrize("known", [False, True])
def test_a_prediction_that_cannot_even_be_sent_ends_its_connection(known: bool) -> None:
    gateway = Gateway(HeadMemo())
    if known:
        gateway.receive(post(b"aa"))
        gateway.answer()

    def broken(_target: object) -> None:
        raise KeyError("a mistake of ours")

    gateway.server.splits.find = broken
    gateway.receive(post(b"bb"))
    assert gateway.transport.state == "aborted"


def test_a_request_that_stumbles_once_it_is_read_ends_its_connection() -> None:
    gateway = Gateway(HeadMemo())
    gateway.connection.inquire = None  # type: ignore[assignment,method-assign]
    gateway.receive(post(b"aa"))
    assert gateway.transport.state == "aborted"
