from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core import access
from mlengine.core.errors import PermissionDenied, Unauthenticated

TOKEN = access.new_token()
DIGEST = access.token_digest(TOKEN)
HOST = "localhost:8470"


def test_tokens_are_fresh_and_safe_in_a_shell() -> None:
    assert access.new_token() != TOKEN
    assert TOKEN.replace("-", "_").isidentifier()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_loopback_is_this_machine_only(host: str) -> None:
    assert access.is_loopback(host)
    assert not access.is_loopback("0.0.0.0")


@pytest.mark.parametrize(
    "value", ["localhost", "LOCALHOST:1", "127.0.0.1:65535", "[::1]:8470", "ml.home", "box:99"]
)
def test_a_host_that_is_ours_is_returned_in_lower_case(value: str) -> None:
    assert access.check_host([value], {"ml.home", "box:99"}) == value.lower()


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["localhost", "localhost"],
        [""],
        ["evil.example"],
        ["localhost.evil.example"],
        ["localhost:65536"],
        ["localhost:"],
        ["localhost:80:80"],
        ["user@localhost"],
        ["localhost/"],
        ["localhost\n"],
        ["box:98"],
        ["[::1"],
    ],
)
def test_any_other_host_is_refused(values: list[str]) -> None:
    with pytest.raises(PermissionDenied):
        access.check_host(values, {"box:99"})


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ([], []),
        ([], ["none"]),
        ([], ["same-origin"]),
        ([f"http://{HOST}"], ["same-origin"]),
        ([f"HTTPS://{HOST}"], []),
    ],
)
def test_programs_and_our_own_pages_may_call(origin: list[str], site: list[str]) -> None:
    access.check_origin(origin, site, {HOST})


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        (["null"], []),
        (["http://evil.example"], []),
        ([f"http://{HOST}.evil.example"], []),
        ([f"file://{HOST}"], []),
        ([HOST], []),
        ([f"http://{HOST}", f"http://{HOST}"], []),
        ([], ["cross-site"]),
        ([], ["same-site"]),
        ([], ["none", "none"]),
        ([f"http://{HOST}"], ["cross-site"]),
    ],
)
def test_pages_of_others_may_not(origin: list[str], site: list[str]) -> None:
    with pytest.raises(PermissionDenied, match="did not serve"):
        access.check_origin(origin, site, {HOST})


def _opens(authorization: list[str], digest: str) -> bool:
    """Compare as both guards do."""
    return access.is_secret(access.bearer_digest(authorization).encode(), digest.encode())


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_the_right_token_opens(scheme: str) -> None:
    assert _opens([f"{scheme}{TOKEN}"], DIGEST)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [f"Bearer {TOKEN}", f"Bearer {TOKEN}"],
        [""],
        ["Bearer"],
        ["Bearer "],
        [TOKEN],
        [f"Basic {TOKEN}"],
        [f"Bearer {TOKEN}x"],
        [f"Bearer {DIGEST}"],
        ["Bearer " + "x" * 2000],
        ["Bearer \udcff"],
    ],
)
def test_anything_else_does_not(values: list[str]) -> None:
    with pytest.raises(Unauthenticated, match="print-access-token"):
        if not _opens(values, DIGEST):
            raise access.unknown_bearer()


@given(st.text())
def test_an_engine_without_a_token_is_closed(token: str) -> None:
    try:
        assert not _opens([f"Bearer {token}"], "")
    except Unauthenticated:
        pass


@pytest.mark.parametrize("query", ["", "alt=json", "pageToken=x", "a=%74"])
def test_a_query_without_a_token_passes(query: str) -> None:
    access.check_no_token_in_query(query)


@pytest.mark.parametrize(
    "query", ["access_token=x", "a=b&oauth_token=x", "access_token", "%61ccess_token=x"]
)
def test_a_token_in_the_url_is_refused(query: str) -> None:
    with pytest.raises(Unauthenticated, match="URL"):
        access.check_no_token_in_query(query)
