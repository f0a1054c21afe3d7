"""`mlengine keys`, and the policies of a model."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
import yaml

from mlengine.core.clock import SystemClock
from mlengine.core.errors import Aborted, PermissionDenied
from mlengine.core.policies import Binding, Policy
from mlengine.core.resources import Model
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run

_USER = "roles/ml.modelUser"


@pytest.fixture
def shop(engine: FakeEngine) -> FakeEngine:
    engine.create_model("default", Model(name="shop"))
    return engine


def test_a_key_is_printed_alone_on_stdout(run: Run, engine: FakeEngine) -> None:
    done = run("keys", "create", "app", "--models", "shop,census", "--requests-per-second", "2.5",
               "--burst", "9", "--daily-quota", "1000", "--member", "user:anna@x.org")  # fmt: skip
    assert (done.code, done.out) == (0, "mlk_app\n")
    assert "Created key [projects/default/keys/app]." in done.err and "mlk_app" not in done.err
    made = engine.get_key("default", "app")
    assert (made.models, made.member) == (["census", "shop"], "user:anna@x.org")
    assert (made.requests_per_second, made.burst, made.daily_quota) == (2.5, 9, 1000)
    assert "keyString" not in run("keys", "describe", "app").out


def test_a_model_that_is_not_there_yet_is_told_and_no_hindrance(run: Run, shop: FakeEngine) -> None:
    done = run("keys", "create", "app", "--models", "shop,nope")
    assert (done.code, done.out) == (0, "mlk_app\n")
    _created, warning = done.err.splitlines()
    assert warning.startswith("WARNING: There is no model [nope] in project [default] now; ")
    assert shop.get_key("default", "app").models == ["nope", "shop"]


def test_a_key_is_made_also_where_models_cannot_be_seen(run: Run, shop: FakeEngine) -> None:
    def refuse(verb: str) -> None:
        if verb == "get_model":
            raise PermissionDenied("This key may not see models.")

    shop.before = refuse
    done = run("keys", "create", "app", "--models", "nope")
    assert (done.code, done.out) == (0, "mlk_app\n")
    assert "WARNING" not in done.err


def test_a_program_gets_the_whole_record(run: Run) -> None:
    done = run("keys", "create", "app", "--role", "viewer", "--format", "json")
    assert json.loads(done.out)["keyString"] == "mlk_app"


def test_a_key_that_may_nothing_is_told_how_to_get_a_model(run: Run) -> None:
    done = run("keys", "create", "app")
    assert "--member serviceAccount:app --role roles/ml.modelUser" in done.err


@pytest.mark.parametrize(
    ("span", "least", "most"), [("30d", 29.9, 30.1), ("12h", 0.49, 0.51), ("2w", 13.9, 14.1)]
)
def test_a_time_to_live_becomes_a_time(
    run: Run, engine: FakeEngine, span: str, least: float, most: float
) -> None:
    assert run("keys", "create", "app", "--role", "viewer", "--expires", span).code == 0
    ends = datetime.datetime.fromisoformat(engine.get_key("default", "app").expire_time)
    days = (ends - SystemClock().now()).total_seconds() / 86400
    assert least < days < most


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--expires", "soon"), "'soon' is no time"),
        (("--expires", "999999w"), "too far away"),
        (("--role", "owner"), "'owner' is not one of"),
        (("--models", "a b"), "key.models"),
        (("--burst", "3"), "key.burst"),
    ],
)
def test_what_is_wrong_is_named(run: Run, flags: tuple[str, ...], problem: str) -> None:
    done = run("keys", "create", "app", *flags)
    assert done.code != 0 and problem in done.err and "Traceback" not in done.err


def test_keys_are_listed_and_revoked(run: Run, engine: FakeEngine) -> None:
    run("keys", "create", "one", "--role", "viewer")
    run("keys", "create", "two", "--models", "a,b")
    run("keys", "revoke", "one", "--quiet")
    rows = run("keys", "list").out.splitlines()
    assert rows[0].split() == ["KEY_ID", "MEMBER", "ROLE", "MODELS", "REVOKED"]
    assert rows[1].split()[:2] == ["two", "serviceAccount:two"]
    assert "2018-03-02" in rows[2]
    assert engine.get_key("default", "one").revoke_time
    assert run("keys", "revoke", "nobody", "--quiet").code == 1
    uris = run("keys", "list", "--uri").out.splitlines()
    assert uris[0] == "http://engine.test:8470/api/v1/projects/default/keys/two"


def test_a_member_gets_a_role_and_loses_it(run: Run, shop: FakeEngine) -> None:
    words = ("shop", "--member", "serviceAccount:app", "--role", _USER)
    done = run("models", "add-iam-policy-binding", *words)
    assert (done.code, done.err) == (0, "Updated IAM policy for model [shop].\n")
    shown = yaml.safe_load(run("models", "get-iam-policy", "shop").out)
    assert shown["bindings"] == [{"members": ["serviceAccount:app"], "role": _USER}]
    assert run("models", "remove-iam-policy-binding", *words).code == 0
    assert "bindings" not in yaml.safe_load(run("models", "get-iam-policy", "shop").out)
    done = run("models", "remove-iam-policy-binding", *words)
    assert done.code == 1 and "was not found" in done.err


def test_a_policy_comes_from_a_file(run: Run, shop: FakeEngine, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"bindings": [{"role": _USER, "members": ["user:a"]}]}))
    assert run("models", "set-iam-policy", "shop", str(file)).code == 0
    assert shop.get_iam_policy("models", "default", "shop").bindings == [
        Binding(role=_USER, members=["user:a"])
    ]
    file.write_text("bindings:\n- role: roles/ml.king\n  members: ['user:a']\n")
    done = run("models", "set-iam-policy", "shop", str(file))
    assert done.code == 1 and "There is no role 'roles/ml.king'" in done.err


def test_who_comes_second_adds_to_what_the_first_has_set(run: Run, shop: FakeEngine) -> None:
    first = [True]

    def interfere(verb: str) -> None:
        if verb == "set_iam_policy" and first:
            first.clear()
            other = Policy(bindings=[Binding(role="roles/ml.viewer", members=["user:b"])])
            shop.set_iam_policy("models", "default", "shop", other)

    shop.before = interfere
    words = ("shop", "--member", "user:a", "--role", _USER)
    assert run("models", "add-iam-policy-binding", *words).code == 0
    found = shop.get_iam_policy("models", "default", "shop").bindings
    assert {(b.role, *b.members) for b in found} == {("roles/ml.viewer", "user:b"),
                                                     (_USER, "user:a")}  # fmt: skip


def test_who_never_comes_first_is_told(run: Run, shop: FakeEngine) -> None:
    def interfere(verb: str) -> None:
        if verb == "set_iam_policy":
            raise Aborted("There were concurrent policy changes.")

    shop.before = interfere
    done = run("models", "add-iam-policy-binding", "shop", "--member", "user:a", "--role", _USER)
    assert done.code == 1 and "concurrent policy changes" in done.err
