"""A policy is honoured as written or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.core.permissions import Granted
from mlengine.core.policies import (
    Binding,
    Policy,
    add_binding,
    check_permissions,
    check_policy,
    check_policy_mask,
    check_policy_version,
    granted,
    remove_binding,
)

_USER = "roles/ml.modelUser"
_ROLES = st.sampled_from([_USER, "roles/ml.viewer", "roles/ml.modelOwner"])
_MEMBERS = st.sampled_from(["user:a", "user:b@x.org", "serviceAccount:c", "allAuthenticatedUsers"])
_POLICIES = st.builds(
    Policy,
    bindings=st.lists(
        st.builds(Binding, role=_ROLES, members=st.lists(_MEMBERS, max_size=3)), max_size=4
    ),
)


@given(_POLICIES)
def test_what_is_recorded_means_what_was_sent(policy: Policy) -> None:
    kept = check_policy(policy, kind="models")
    assert _pairs(kept) == _pairs(policy)
    assert len({b.role for b in kept.bindings}) == len(kept.bindings)
    assert all(b.members for b in kept.bindings)
    assert check_policy(kept, kind="models") == kept


@given(_POLICIES, _ROLES, _MEMBERS)
def test_a_binding_comes_and_goes(policy: Policy, role: str, member: str) -> None:
    more = add_binding(policy, role, member)
    assert _pairs(more) == _pairs(policy) | {(role, member)}
    assert _pairs(remove_binding(more, role, member)) == _pairs(policy) - {(role, member)}


def test_a_binding_that_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(InvalidArgument, match="was not found"):
        remove_binding(Policy(), _USER, "user:a")


def _binding(**fields: Any) -> Policy:
    return Policy(bindings=[Binding(**{"role": _USER, "members": ["user:a"], **fields})])


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (Policy(version=2), "policy.version"),
        (Policy(audit_configs=[{"service": "allServices"}]), "policy.audit_configs"),
        (_binding(condition={"expression": "true"}), "policy.bindings[0].condition"),
        (_binding(role="roles/ml.king"), "policy.bindings[0].role"),
        (_binding(role="roles/ml.jobOwner"), "policy.bindings[0].role"),
        (_binding(role="roles/mlengine.monitor"), "policy.bindings[0].role"),
        (_binding(members=["allUsers"]), "policy.bindings[0].members"),
        (_binding(members=["group:g@x.org"]), "policy.bindings[0].members"),
        (_binding(members=["domain:x.org"]), "policy.bindings[0].members"),
        (_binding(members=["projectOwner:p"]), "policy.bindings[0].members"),
        (_binding(members=["anna"]), "policy.bindings[0].members"),
        (_binding(members=[f"user:u{i}" for i in range(1501)]), "policy.bindings"),
    ],
)
def test_what_would_not_be_honoured_is_refused_by_name(policy: Policy, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_policy(policy, kind="models")
    assert caught.value.field == field


def test_fifteen_hundred_principals_are_taken() -> None:
    kept = check_policy(_binding(members=[f"user:u{i}" for i in range(1500)]), kind="models")
    assert len(kept.bindings[0].members) == 1500


def test_a_job_has_owners_and_no_users() -> None:
    owner = Policy(bindings=[Binding(role="roles/ml.jobOwner", members=["user:a"])])
    assert check_policy(owner, kind="jobs").bindings == owner.bindings
    with pytest.raises(InvalidArgument, match="gives nothing over jobs"):
        check_policy(_binding(), kind="jobs")


def test_the_decision_takes_a_policys_bindings() -> None:
    assert granted(None) == []
    assert granted(_binding()) == [Granted(_USER, ["user:a"])]


@pytest.mark.parametrize(
    "mask", ["", "bindings", "bindings,etag", " etag , bindings ", "version,bindings"]
)
def test_a_mask_that_sets_the_bindings_is_taken(mask: str) -> None:
    check_policy_mask(mask)


@pytest.mark.parametrize("mask", ["etag", "auditConfigs", "bindings,auditConfigs", "*"])
def test_another_mask_is_refused(mask: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_policy_mask(mask)
    assert caught.value.field == "update_mask"


def test_permissions_are_asked_about_by_name() -> None:
    assert check_permissions(["b", "a", "b"]) == ["b", "a"]
    for wrong in (["ml.*"], [""], ["a"] * 101):
        with pytest.raises(InvalidArgument):
            check_permissions(wrong)


def test_versions_of_policies() -> None:
    for version in (0, 1, 3):
        check_policy_version(version)
    with pytest.raises(InvalidArgument):
        check_policy_version(2)


def _pairs(policy: Policy) -> set[tuple[str, str]]:
    return {(b.role, member) for b in policy.bindings for member in b.members}
