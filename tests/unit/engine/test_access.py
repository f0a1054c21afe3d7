"""Keys and policies of an engine: what they open, until when, and what tells the gateway."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.access import token_digest
from mlengine.core.callers import OWNER, Caller, calling
from mlengine.core.errors import (
    Aborted,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from mlengine.core.keys import Key
from mlengine.core.policies import Binding, Policy
from mlengine.core.resources import Job, Model, PredictionInput
from mlengine.engine.access import Access
from mlengine.store import Store, open_store
from tests.fakes.clock import PlayedClock

P = "p"
USER = Binding(role="roles/ml.modelUser", members=["serviceAccount:app"])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/engine.db")
    opened.add_model(P, Model(name="shop"))
    yield opened
    opened.close()


class Gateway:
    """Counts how often it is told, and may be away."""

    def __init__(self) -> None:
        self.told = 0
        self.away = False

    def __call__(self) -> None:
        if self.away:
            raise Unavailable("The gateway does not answer.")
        self.told += 1


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def clock() -> PlayedClock:
    return PlayedClock()


@pytest.fixture
def access(store: Store, gateway: Gateway, clock: PlayedClock) -> Access:
    return Access(store, clock=clock, enforce=gateway)


def made(access: Access, **fields: object) -> Caller:
    key = access.create_key(P, Key(**{"name": "app", **fields}))  # type: ignore[arg-type]
    caller = access.caller(token_digest(key.key_string))
    assert caller is not None
    return caller


def test_a_key_is_known_by_its_text_alone(access: Access, gateway: Gateway) -> None:
    key = access.create_key(P, Key(name="app", role="viewer"))
    assert key.name == "projects/p/keys/app" and key.key_string.startswith("mlk_")
    assert gateway.told == 1
    caller = access.caller(token_digest(key.key_string))
    assert caller is not None and caller.role == "viewer"
    assert access.caller(token_digest(key.key_string + "x")) is None
    assert access.caller(token_digest("")) is None
    assert access.get_key(P, "app").key_string == ""
    assert [k.name for k in access.list_keys(P)] == ["projects/p/keys/app"]
    assert access.list_keys("q") == []


def test_a_key_opens_until_its_time_and_no_longer(access: Access, clock: PlayedClock) -> None:
    ends = clock.now() + datetime.timedelta(hours=1)
    text = access.create_key(P, Key(name="app", expire_time=ends.strftime("%Y-%m-%dT%H:%M:%SZ")))
    digest = token_digest(text.key_string)
    assert access.caller(digest) is not None
    clock.pass_s(3599)
    assert access.caller(digest) is not None
    clock.pass_s(1)
    assert access.caller(digest) is None


def test_a_revoked_key_opens_nothing_and_the_gateway_knows(
    access: Access, gateway: Gateway
) -> None:
    key = access.create_key(P, Key(name="app", role="admin"))
    assert access.revoke_key(P, "app").revoke_time
    assert access.caller(token_digest(key.key_string)) is None
    assert gateway.told == 2


def test_whoever_revokes_a_key_is_told_when_the_gateway_was_not(
    access: Access, gateway: Gateway
) -> None:
    access.create_key(P, Key(name="app", role="admin"))
    gateway.away = True
    with pytest.raises(Unavailable):
        access.revoke_key(P, "app")
    assert access.get_key(P, "app").revoke_time
    gateway.away = False
    assert access.revoke_key(P, "app").revoke_time  # the same command once more
    assert gateway.told == 2


def test_a_new_keys_text_is_not_lost_with_the_gateway(access: Access, gateway: Gateway) -> None:
    gateway.away = True
    assert access.create_key(P, Key(name="app")).key_string


def test_only_the_engines_token_makes_who_watches_the_engine(access: Access) -> None:
    with calling(made(access, role="admin")), pytest.raises(PermissionDenied) as caught:
        access.create_key(P, Key(name="spy", role="monitor"))
    assert caught.value.field == "key.role"
    assert access.create_key(P, Key(name="spy", role="monitor")).key_string


def test_a_policy_opens_one_model_to_a_member(access: Access, gateway: Gateway) -> None:
    app = made(access)
    where = {"project": P, "kind": "models", "resource_id": "shop"}
    assert not access.admits(app, "ml.models.predict", **where)  # type: ignore[arg-type]
    access.set_iam_policy("models", P, "shop", Policy(bindings=[USER]))
    assert gateway.told == 2
    assert access.admits(app, "ml.models.predict", **where)  # type: ignore[arg-type]
    assert not access.admits(app, "ml.models.update", **where)  # type: ignore[arg-type]
    assert not access.admits(app, "ml.models.list", project=P)
    stranger = Caller(key="k", project="q", member="serviceAccount:app")
    assert not access.admits(stranger, "ml.models.predict", **where)  # type: ignore[arg-type]


def test_a_policy_is_set_on_what_was_read(access: Access) -> None:
    read = access.get_iam_policy("models", P, "shop")
    mine = Policy(bindings=[USER], etag=read.etag)
    kept = access.set_iam_policy("models", P, "shop", mine, update_mask="bindings,etag")
    assert kept.bindings == [USER] and kept.version == 1
    with pytest.raises(Aborted):
        access.set_iam_policy("models", P, "shop", mine)
    assert access.set_iam_policy("models", P, "shop", Policy()).bindings == []  # whoever was there
    with pytest.raises(InvalidArgument):
        access.set_iam_policy("models", P, "shop", Policy(), update_mask="auditConfigs")
    with pytest.raises(InvalidArgument):
        access.get_iam_policy("models", P, "shop", requested_version=2)
    for kind in ("models", "jobs"):
        with pytest.raises(NotFound):
            access.get_iam_policy(kind, P, "none")  # type: ignore[arg-type]
        with pytest.raises(NotFound):
            access.set_iam_policy(kind, P, "none", Policy())  # type: ignore[arg-type]


def test_a_trial_has_no_policy_of_its_own(access: Access, store: Store) -> None:
    store.add_job(P, Job(job_id="tune"), uid="u")
    store.add_job(P, Job(job_id="tune/1"), uid="u1", parent="u")
    assert access.get_iam_policy("jobs", P, "tune").bindings == []
    with pytest.raises(InvalidArgument):
        access.get_iam_policy("jobs", P, "tune/1")


def test_permissions_are_told_of_what_is_there(access: Access) -> None:
    asked = ["ml.models.get", "ml.jobs.get", "ml.models.predict", "no.such.thing"]
    assert access.test_iam_permissions("models", P, "shop", asked) == [
        "ml.models.get", "ml.models.predict",
    ]  # fmt: skip
    assert access.test_iam_permissions("models", P, "none", asked) == []
    with calling(made(access, models=["shop"])):
        assert access.test_iam_permissions("models", P, "shop", asked) == ["ml.models.predict"]
        assert access.test_iam_permissions("jobs", P, "shop", asked) == []


def test_whoever_makes_a_thing_owns_it(access: Access, store: Store) -> None:
    store.add_job(P, Job(job_id="train"), uid="u")
    dev = made(access, role="developer")
    where = {"project": P, "kind": "jobs", "resource_id": "train"}
    assert not access.admits(dev, "ml.jobs.cancel", **where)  # type: ignore[arg-type]
    access.owns(dev, "roles/ml.jobOwner", kind="jobs", project=P, resource_id="train")
    assert access.admits(dev, "ml.jobs.cancel", **where)  # type: ignore[arg-type]
    assert store.policy("jobs", P, "train").bindings[0].members == ["serviceAccount:app"]


def test_who_has_every_right_anyway_leaves_no_policy(access: Access, store: Store) -> None:
    admin = made(access, role="admin")
    for caller in (OWNER, admin):
        access.owns(caller, "roles/ml.modelOwner", kind="models", project=P, resource_id="shop")
    assert store.model_policies() == {}


def test_what_was_made_stays_made_when_its_owner_cannot_be_noted(access: Access) -> None:
    dev = made(access, role="developer")
    access.owns(dev, "roles/ml.jobOwner", kind="jobs", project=P, resource_id="gone")


@pytest.mark.parametrize("field", ["model_name", "version_name"])
def test_a_job_asks_models_that_its_maker_may_ask(access: Access, store: Store, field: str) -> None:
    store.add_model("q", Model(name="secret"))
    end = "/versions/v1" if field == "version_name" else ""
    job = Job(prediction_input=PredictionInput(**{field: f"projects/q/models/secret{end}"}))
    own = Job(prediction_input=PredictionInput(**{field: f"projects/p/models/shop{end}"}))
    access.check_job(P, job)  # the engine's own token may
    dev = made(access, role="developer")
    with calling(dev):
        access.check_job(P, own)
        access.check_job(P, Job())
        with pytest.raises(PermissionDenied):
            access.check_job(P, job)
    everybody = Binding(role="roles/ml.modelUser", members=["allAuthenticatedUsers"])
    access.set_iam_policy("models", "q", "secret", Policy(bindings=[everybody]))
    with calling(dev):
        access.check_job(P, job)
