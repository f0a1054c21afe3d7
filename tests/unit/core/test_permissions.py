"""The table of permissions: nothing by default, nothing lost by one binding more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.callers import OWNER, Caller
from mlengine.core.permissions import (
    ENGINE_ROLES,
    KNOWN,
    OPEN,
    PERMISSIONS,
    PROJECT_ROLES,
    ROLES,
    Granted,
    held,
    is_audited,
    is_route_permission,
    may,
)

_PROJECTS = st.sampled_from(["p", "q"])
_IDS = st.sampled_from(["a", "b", "c"])
_MEMBERS = st.sampled_from(["user:a", "serviceAccount:b", "allAuthenticatedUsers"])
_ROLES = st.sampled_from(sorted(ROLES))
_BINDINGS = st.lists(st.builds(Granted, _ROLES, st.frozensets(_MEMBERS)), max_size=4)
_CALLERS = st.builds(
    Caller,
    key=_IDS,
    project=_PROJECTS,
    member=st.sampled_from(["user:a", "serviceAccount:b"]),
    role=st.sampled_from(["", *PROJECT_ROLES, *ENGINE_ROLES]),
    models=st.frozensets(_IDS),
)
_TARGETS = st.sampled_from(["", "p", "q"])


@given(_TARGETS, st.sampled_from(["", "a"]))
def test_a_key_without_anything_holds_nothing(project: str, model: str) -> None:
    bare = Caller(key="k", project="p", member="user:a")
    assert held(bare, project=project, model=model) == frozenset()


@given(_CALLERS, _TARGETS, _IDS, _BINDINGS, _BINDINGS)
def test_a_binding_more_never_takes_anything_away(
    caller: Caller, project: str, model: str, some: list[Granted], more: list[Granted]
) -> None:
    before = held(caller, project=project, model=model, policy=some)
    assert before <= held(caller, project=project, model=model, policy=some + more)
    assert before == held(caller, project=project, model=model, policy=reversed(some))


@given(_CALLERS, _IDS, _BINDINGS)
def test_in_another_project_only_a_binding_for_everybody_counts(
    caller: Caller, model: str, policy: list[Granted]
) -> None:
    other = "q" if caller.project == "p" else "p"
    everybodys = [b for b in policy if "allAuthenticatedUsers" in b.members]
    found = held(caller, project=other, model=model, policy=policy)
    given_by_all = frozenset().union(*(ROLES[b.role] for b in everybodys))
    own = ROLES[ENGINE_ROLES[caller.role]] if caller.role in ENGINE_ROLES else frozenset()
    assert found == given_by_all | own


@given(_TARGETS, _IDS, _BINDINGS, st.sampled_from(sorted(PERMISSIONS)))
def test_the_engines_own_token_may_everything(
    project: str, model: str, policy: list[Granted], permission: str
) -> None:
    assert may(OWNER, permission, project=project, model=model, policy=policy)


def test_each_role_holds_what_the_one_below_holds() -> None:
    viewer, developer, admin = (ROLES[PROJECT_ROLES[r]] for r in ("viewer", "developer", "admin"))
    assert viewer < developer < admin < PERMISSIONS
    assert not any(p.endswith((".delete", ".create", ".update", ".predict")) for p in viewer)


def test_every_permission_of_a_role_exists_and_every_permission_has_a_holder() -> None:
    assert all(permissions <= PERMISSIONS for permissions in ROLES.values())
    nobodys = PERMISSIONS - frozenset().union(*ROLES.values())
    assert nobodys == {
        "mlengine.buckets.delete", "mlengine.runtimes.delete", "mlengine.environments.collect",
    }  # fmt: skip


@pytest.mark.parametrize("role", sorted(ROLES))
def test_who_may_ask_a_model_may_ask_its_versions(role: str) -> None:
    both = {"ml.models.predict", "ml.versions.predict"}
    assert both <= ROLES[role] or not both & ROLES[role]


def test_a_key_with_models_predicts_with_these_in_its_project_and_no_more() -> None:
    app = Caller(key="k", project="p", member="user:a", models=frozenset({"census"}))
    assert held(app, project="p", model="census") == {"ml.models.predict", "ml.versions.predict"}
    assert not held(app, project="p", model="other")
    assert not held(app, project="p")
    assert not held(app, project="q", model="census")
    assert not held(app, project="")


def test_what_is_told_in_the_log_changes_something() -> None:
    assert is_audited("ml.jobs.create") and is_audited("mlengine.keys.revoke")
    assert is_audited("ml.models.setIamPolicy") and is_audited("mlengine.environments.collect")
    assert is_audited("ml.studies.delete") and is_audited("ml.trials.delete")
    for quiet in ("ml.jobs.get", "ml.models.predict", "ml.trials.update", "ml.projects.getConfig"):
        assert not is_audited(quiet)
    assert not is_audited(OPEN) and not is_audited(KNOWN)


def test_a_route_names_a_permission_that_exists() -> None:
    assert is_route_permission("ml.jobs.get") and is_route_permission(OPEN)
    assert not is_route_permission("") and not is_route_permission("ml.jobs.fly")
