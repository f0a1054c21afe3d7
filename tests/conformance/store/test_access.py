"""Keys and policies, on every technology."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from mlengine.core.errors import Aborted, AlreadyExists, EngineError, NotFound
from mlengine.core.keys import Key
from mlengine.core.policies import Binding, Policy
from mlengine.core.resources import Job, Model
from mlengine.store import Store, open_store

P = "p"
USERS = Policy(version=1, bindings=[Binding(role="roles/ml.modelUser", members=["user:a"])])
NOBODY = Policy(version=1)


def test_a_key_comes_back_as_it_was_kept(store: Store) -> None:
    asked = Key(name="app", member="user:a", role="viewer", models=["m"], requests_per_second=0.5,
                burst=3, daily_quota=7, expire_time="2031-01-01T00:00:00Z")  # fmt: skip
    made = store.add_key(P, asked, digest="d1")
    assert made.key.create_time and not made.key.revoke_time
    assert made == store.key(P, "app") == store.key_of("d1")
    made.key.create_time = ""
    assert made.key == asked
    assert (made.project, made.key_id, made.digest) == (P, "app", "d1")


def test_no_keys_text_is_written(store: Store, raw: sa.Engine) -> None:
    store.add_key(P, Key(name="app", key_string="mlk_canary"), digest="d1")
    store.revoke_key(P, "app")
    with raw.connect() as connection:
        for table in ("keys", "events"):
            rows = connection.exec_driver_sql(f"SELECT * FROM {table}").all()
            assert rows and "canary" not in repr(rows)


def test_a_project_has_its_own_keys_newest_first(store: Store) -> None:
    for project, key_id in (("p", "b"), ("p", "a"), ("q", "a")):
        store.add_key(project, Key(name=key_id), digest=project + key_id)
    assert [record.key_id for record in store.keys("p")] == ["a", "b"]
    assert [(r.project, r.key_id) for r in store.open_keys()] == [
        ("p", "b"),
        ("p", "a"),
        ("q", "a"),
    ]
    with pytest.raises(NotFound, match="Did you mean 'a'"):
        store.key("q", "aa")
    assert store.key_of("nothing") is None


def test_an_id_is_used_once_also_after_its_key_was_revoked(store: Store) -> None:
    store.add_key(P, Key(name="app"), digest="d1")
    store.revoke_key(P, "app")
    with pytest.raises(AlreadyExists) as caught:
        store.add_key(P, Key(name="app"), digest="d2")
    assert caught.value.field == "key.name"


def test_a_revoked_key_counts_no_more_and_stays_in_the_list(store: Store) -> None:
    store.add_key(P, Key(name="app", role="admin"), digest="d1")
    revoked = store.revoke_key(P, "app")
    assert revoked.key.revoke_time and revoked.key.role == "admin"
    assert store.key_of("d1") is None
    assert store.open_keys() == []
    assert store.keys(P) == [revoked]
    assert store.revoke_key(P, "app") == revoked
    assert [e.kind for e in store.events()] == ["key.created", "key.revoked"]
    with pytest.raises(NotFound):
        store.revoke_key(P, "nobody")


def test_not_even_raw_sql_brings_a_key_back(store: Store, raw: sa.Engine) -> None:
    store.add_key(P, Key(name="app"), digest="d1")
    store.revoke_key(P, "app")
    for statement in (
        "UPDATE keys SET revoked = FALSE",
        "UPDATE keys SET digest = 'other'",
        "DELETE FROM keys",
    ):
        with pytest.raises(sa.exc.DBAPIError), raw.begin() as connection:
            connection.exec_driver_sql(statement)


def test_what_was_never_set_has_no_bindings(store: Store) -> None:
    none = store.policy("models", P, "m")
    assert none.bindings == [] and none.etag
    store.add_model(P, Model(name="m"))
    assert store.policy("models", P, "m") == none
    assert store.model_policies() == {}


def test_a_policy_comes_back_with_an_etag_of_its_own(store: Store) -> None:
    store.add_model(P, Model(name="m"))
    etags = {store.policy("models", P, "m").etag}
    for policy in (USERS, NOBODY, USERS):
        kept = store.edit_policy("models", P, "m", lambda _before, policy=policy: policy)
        assert kept == store.policy("models", P, "m") == store.model_policies()[P, "m"]
        assert kept.bindings == policy.bindings
        etags.add(kept.etag)
    assert len(etags) == 4
    assert [e.kind for e in store.events()].count("policy.set") == 3


def test_a_policy_needs_its_resource(store: Store) -> None:
    for kind in ("models", "jobs", "operations"):
        with pytest.raises(NotFound):
            store.edit_policy(kind, P, "nobody", lambda _before: USERS)
    store.add_job(P, Job(job_id="j"), uid="j")
    store.add_operation(P, "o", {})
    store.add_model(P, Model(name="j"))
    store.edit_policy("jobs", P, "j", lambda _before: USERS)
    store.edit_policy("operations", P, "o", lambda _before: USERS)
    assert store.policy("jobs", P, "j").bindings == USERS.bindings
    assert store.policy("operations", P, "o").bindings == USERS.bindings
    assert store.policy("models", P, "j").bindings == []
    assert store.policy("jobs", "q", "j").bindings == []
    assert store.model_policies() == {}


def test_a_policy_goes_with_its_model(store: Store) -> None:
    store.add_model(P, Model(name="m"))
    first = store.edit_policy("models", P, "m", lambda _before: USERS)
    store.remove_model(P, "m")
    assert store.model_policies() == {}
    store.add_model(P, Model(name="m"))
    assert store.policy("models", P, "m").bindings == []
    second = store.edit_policy("models", P, "m", lambda _before: USERS)
    assert second.etag != first.etag


def test_of_many_who_change_what_they_read_one_is_first(url: str, store: Store) -> None:
    store.add_model(P, Model(name="m"))
    store.add_job(P, Job(job_id="m"), uid="j")
    for kind in ("models", "jobs"):
        _race(url, store, kind)


def _race(url: str, store: Store, kind: str) -> None:
    read = store.policy(kind, P, "m")  # type: ignore[arg-type]
    stores = [open_store(url) for _ in range(4)]
    start = threading.Barrier(len(stores))

    def change(before: Policy) -> Policy:
        if before.etag != read.etag:
            raise Aborted("Somebody was first.")
        return USERS

    def race(opened: Store) -> bool:
        start.wait()
        try:
            opened.edit_policy(kind, P, "m", change)  # type: ignore[arg-type]
        except EngineError as error:
            assert isinstance(error, Aborted), error
            return False
        return True

    with ThreadPoolExecutor(len(stores)) as racers:
        won = list(racers.map(race, stores))
    for opened in stores:
        opened.close()
    assert won.count(True) == 1
