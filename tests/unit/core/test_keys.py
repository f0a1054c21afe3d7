"""What a key may be, and that what it is made of is refused by name."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from mlengine.core.access import new_key, token_digest
from mlengine.core.errors import InvalidArgument
from mlengine.core.keys import Key, caller_of, check_key, expires_s

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def test_a_key_says_who_it_is_by_its_id() -> None:
    key = check_key("p", Key(name="shop-web", models=["b", "a", "b"]), now=NOW)
    assert key == Key(name="shop-web", member="serviceAccount:shop-web", models=["a", "b"])
    caller = caller_of("p", key)
    assert caller.key == "projects/p/keys/shop-web"
    assert (caller.project, caller.role, caller.models) == ("p", "", frozenset({"a", "b"}))
    assert not caller.is_owner


def test_what_a_request_may_not_set_is_not_taken() -> None:
    asked = Key(name="k", role="viewer", key_string="x", revoke_time="y", create_time="z")
    assert check_key("p", asked, now=NOW) == Key(name="k", role="viewer", member="serviceAccount:k")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "key.name"),
        ({"name": "Shop"}, "key.name"),
        ({"name": "a/b"}, "key.name"),
        ({"name": "a" * 64}, "key.name"),
        ({"role": "owner"}, "key.role"),
        ({"role": "roles/ml.admin"}, "key.role"),
        ({"models": ["a b"]}, "key.models"),
        ({"models": ["m"] * 1001}, "key.models"),
        ({"member": "allUsers"}, "key.member"),
        ({"member": "allAuthenticatedUsers"}, "key.member"),
        ({"member": "group:g@example.com"}, "key.member"),
        ({"member": "user:"}, "key.member"),
        ({"requests_per_second": -1.0}, "key.requests_per_second"),
        ({"requests_per_second": float("nan")}, "key.requests_per_second"),
        ({"requests_per_second": float("inf")}, "key.requests_per_second"),
        ({"burst": 5}, "key.burst"),
        ({"burst": -1, "requests_per_second": 1.0}, "key.burst"),
        ({"daily_quota": -1}, "key.daily_quota"),
        ({"expire_time": "tomorrow"}, "key.expire_time"),
        ({"expire_time": "2030-02-30T00:00:00Z"}, "key.expire_time"),
        ({"expire_time": "2029-12-31T23:59:59Z"}, "key.expire_time"),
        ({"expire_time": "2031-01-01T00:00:00+02:00"}, "key.expire_time"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_key("p", Key(**{"name": "k", **fields}), now=NOW)
    assert caught.value.field == field


def test_a_project_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        check_key("P/..", Key(name="k"), now=NOW)


def test_a_key_ends_at_its_time() -> None:
    key = check_key("p", Key(name="k", expire_time="2030-01-01T00:00:01Z"), now=NOW)
    assert expires_s(key) == NOW.timestamp() + 1
    assert expires_s(Key(name="k")) == 0.0


def test_keys_are_told_from_tokens_and_from_each_other() -> None:
    texts = {new_key() for _ in range(50)}
    assert len({token_digest(text) for text in texts}) == 50
    assert all(text.startswith("mlk_") and len(text) == 47 for text in texts)
