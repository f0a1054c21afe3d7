"""Keys at the door of the REST face: who is let in, what is owned, what is told of it."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from mlengine.core.access import token_digest
from mlengine.core.callers import Caller, current_caller
from mlengine.core.errors import Unavailable
from mlengine.core.permissions import held
from mlengine.core.policies import PolicyKind
from mlengine.rest.app import build_app
from mlengine.rest.routes import Route
from tests.fakes.asgi import HOST, JSON, TOKEN, Answer, call
from tests.fakes.engine import FakeEngine

P = "/v1/projects/p"


class Keeper:
    """Knows two keys by what they are called, and keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.owned: list[tuple[str, str, str]] = []
        self.away = False

    def caller(self, digest: str) -> Caller | None:
        self.asked.append(digest)
        if self.away:
            raise Unavailable("The database is away.")
        for role in ("viewer", "developer"):
            if digest == token_digest(role):
                return Caller(key=f"projects/p/keys/{role}", project="p", role=role)
        return None

    def admits(
        self,
        caller: Caller,
        permission: str,
        *,
        project: str = "",
        kind: PolicyKind | None = None,
        resource_id: str = "",
    ) -> bool:
        return permission in held(caller, project=project)

    def owns(
        self, caller: Caller, role: str, *, kind: PolicyKind, project: str, resource_id: str
    ) -> None:
        self.owned.append((role, kind, resource_id))


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def app(engine: FakeEngine, keeper: Keeper) -> Any:
    return build_app(engine, token_digest=token_digest(TOKEN), allowed_hosts=[], doorkeeper=keeper)


def send(app: Any, method: str, target: str, token: str, body: Any = None) -> Answer:
    headers = (HOST, JSON, ("authorization", f"Bearer {token}"))
    raw = None if body is None else json.dumps(body).encode()
    return call(app, method, target, body=raw, headers=headers)


def test_the_engines_own_token_asks_no_records(app: Any, keeper: Keeper) -> None:
    assert send(app, "GET", f"{P}/models", TOKEN).status == 200
    assert keeper.asked == []


def test_only_a_digest_leaves_the_door(app: Any, keeper: Keeper) -> None:
    assert send(app, "GET", f"{P}/models", "viewer").status == 200
    assert send(app, "GET", f"{P}/models", "nobody").status == 401
    assert keeper.asked == [token_digest("viewer"), token_digest("nobody")]


def test_a_refusal_names_what_is_missing_and_no_verb_is_called(
    app: Any, engine: FakeEngine
) -> None:
    called: list[str] = []
    engine.before = called.append
    answer = send(app, "DELETE", f"{P}/models/shop", "viewer")
    assert answer.status == 403
    assert answer.json["error"]["message"].startswith(
        "Permission 'ml.models.delete' denied on resource 'projects/p/models/shop' "
        "(or it may not exist)."
    )
    for target, where in (
        ("/v1/projects/q/jobs", "resource 'projects/q'"), ("/api/v1/buckets", "the engine"),
    ):  # fmt: skip
        message = send(app, "GET", target, "viewer").json["error"]["message"]
        assert f" denied on {where}" in message
    assert called == []


def test_what_a_versions_code_printed_is_not_for_viewers(app: Any) -> None:
    send(app, "POST", f"{P}/models", TOKEN, {"name": "shop"})
    version = {"name": "v1", "deploymentUri": "gs://b/m"}
    assert send(app, "POST", f"{P}/models/shop/versions", TOKEN, version).status == 200
    logs = f"/api{P}/models/shop/versions/v1/logs"
    assert send(app, "GET", logs, "viewer").status == 403
    assert send(app, "GET", f"{logs}?limit=5", "developer").status == 200
    assert send(app, "GET", f"{logs}?limit=all", "developer").status == 400


def test_what_is_wrong_with_a_body_is_not_told_to_who_may_not_send_it(app: Any) -> None:
    assert send(app, "POST", f"{P}/models", "viewer", {"nonsense": 1}).status == 403
    assert send(app, "POST", f"{P}/models", "developer", {"nonsense": 1}).status == 400


def test_a_verb_knows_its_caller(app: Any, engine: FakeEngine) -> None:
    seen: list[str] = []
    engine.before = lambda verb: seen.append(current_caller().key)
    send(app, "GET", f"{P}/models", "viewer")
    send(app, "GET", f"{P}/models", TOKEN)
    assert seen == ["projects/p/keys/viewer", "the engine's own token"]


def test_whoever_makes_something_owns_it(app: Any, keeper: Keeper) -> None:
    send(app, "POST", f"{P}/models", "developer", {"name": "mine"})
    send(app, "POST", f"{P}/jobs", "developer", {"jobId": "job"})
    send(app, "POST", f"{P}/models", TOKEN, {"name": "theirs"})
    send(app, "POST", f"{P}/jobs", "developer", {"jobId": "job"})  # it is there already
    assert keeper.owned == [
        ("roles/ml.modelOwner", "models", "mine"),
        ("roles/ml.jobOwner", "jobs", "job"),
    ]


def test_the_log_tells_who_changed_what(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mlengine.audit")
    send(app, "POST", f"{P}/models?prettyPrint=false", "developer", {"name": "canary"})
    send(app, "DELETE", f"{P}/models/canary", "viewer")
    send(app, "GET", f"{P}/models", "viewer")
    send(app, "POST", f"{P}/models/canary:predict", "developer", {"instances": []})
    told = [r.getMessage() for r in caplog.records if r.name == "mlengine.audit"]
    assert told == [
        "projects/p/keys/developer: ml.projects.models.create '/v1/projects/p/models': 200",
        "projects/p/keys/viewer: ml.projects.models.delete '/v1/projects/p/models/canary': 403",
    ]


def test_when_the_records_cannot_be_read_nobody_comes_in(app: Any, keeper: Keeper) -> None:
    keeper.away = True
    assert send(app, "GET", f"{P}/models", "viewer").status == 503
    assert send(app, "GET", f"{P}/models", TOKEN).status == 200


@pytest.mark.parametrize("fields", [{"permission": ""}, {"permission": "ml.jobs.fly"},
                                    {"permission": "open", "owner": "roles/ml.king"}])  # fmt: skip
def test_a_route_without_a_permission_cannot_be_made(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="which is no"):
        Route(id="x", method="GET", path="/x", **fields)
    with pytest.raises(TypeError, match="permission"):
        Route(id="x", method="GET", path="/x")  # type: ignore[call-arg]


def test_a_part_of_a_batch_needs_what_it_needs_by_itself(
    app: Any, engine: FakeEngine, keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="mlengine.audit")
    called: list[str] = []
    engine.before = lambda verb: called.append(f"{verb} {current_caller().key}")
    make = f'POST {P}/models HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{{"name": "shop"}}'
    hidden = f"POST {P}/jobs HTTP/1.1\r\nX-HTTP-Method-Override: GET\r\n\r\n{{}}"
    body = "".join(f"--q\r\n\r\n{part}\r\n" for part in (make, f"GET {P}/models HTTP/1.1", hidden))
    kind = ("content-type", "multipart/mixed; boundary=q")
    for key, made in (("viewer", 403), ("developer", 200)):
        headers = (HOST, kind, ("authorization", f"Bearer {key}"))
        answer = call(app, "POST", "/batch", body=f"{body}--q--".encode(), headers=headers)
        statuses = [int(part[:3]) for part in answer.body.decode().split("HTTP/1.1 ")[1:]]
        assert statuses == [made, 200, 403 if key == "viewer" else 415]
    assert [c.partition(" ")[0] for c in called] == ["list_models", "create_model", "list_models"]
    assert called[1].endswith("keys/developer")
    assert keeper.owned == [("roles/ml.modelOwner", "models", "shop")]
    assert [m.rpartition(": ")[2] for m in caplog.messages] == ["403", "403", "200", "415"]
