"""Policies: who else has a role over one model, job or operation, as Google's IAM writes it.

A policy is honoured as it is written or refused by name. So no conditions, no groups, no domains:
an engine knows keys, and keys have members.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.permissions import ROLES, Granted
from mlengine.core.resources import JsonObject, Resource

__all__ = [
    "PERMISSIONS_OVER",
    "Binding",
    "Policy",
    "PolicyKind",
    "SetIamPolicyRequest",
    "TestIamPermissionsRequest",
    "TestIamPermissionsResponse",
    "add_binding",
    "check_member",
    "check_permissions",
    "check_policy",
    "check_policy_mask",
    "check_policy_version",
    "granted",
    "remove_binding",
]

PolicyKind = Literal["models", "jobs", "operations"]
"""What can have a policy; the names of its collections in the API."""

PERMISSIONS_OVER: Mapping[PolicyKind, tuple[str, ...]] = MappingProxyType(
    {
        "models": ("ml.models.", "ml.versions."),
        "jobs": ("ml.jobs.",),
        "operations": ("ml.operations.",),
    }
)
"""How the permissions begin that mean something over one of them."""

_ANYBODY = "allAuthenticatedUsers"
_MAX_PRINCIPALS = 1500
_MAX_PERMISSIONS = 100
_MEMBER = re.compile(r"(user|serviceAccount):[A-Za-z0-9][A-Za-z0-9._%+@-]{0,253}", re.ASCII)
_VERSIONS = (0, 1, 3)


class Binding(Resource):
    """A role, and who has it."""

    role: str = ""
    members: list[str] = []
    condition: JsonObject | None = None


class Policy(Resource):
    """All bindings of a resource; `etag` tells this state of it from every other."""

    version: int = 0
    bindings: list[Binding] = []
    audit_configs: list[JsonObject] = []
    etag: str = ""


class SetIamPolicyRequest(Resource):
    """A policy to be set, and which parts of it."""

    policy: Policy | None = None
    update_mask: str = ""


class TestIamPermissionsRequest(Resource):
    """Which permissions a caller asks about."""

    __test__ = False  # its name is Google's, and pytest's idea of a test

    permissions: list[str] = []


class TestIamPermissionsResponse(Resource):
    """Which of them the caller has."""

    __test__ = False

    permissions: list[str] = []


def granted(policy: Policy | None) -> list[Granted]:
    """Return a policy's bindings as the decision takes them."""
    found = policy.bindings if policy else ()
    return [Granted(binding.role, binding.members) for binding in found]


def check_policy(policy: Policy, *, kind: PolicyKind) -> Policy:
    """Return a policy as it is recorded: each role once, its members in order, none empty.

    Args:
        policy: As somebody sent it.
        kind: What it is the policy of.

    Raises:
        InvalidArgument: It holds something that this engine would not honour.
    """
    if policy.version not in _VERSIONS:
        raise _bad("version", f"There is no policy version {policy.version}.", "Use 1.")
    if policy.audit_configs:
        raise _bad(
            "audit_configs",
            "An engine has no audit configuration.",
            "Leave it out: every change is in the engine's log, by key.",
        )
    by_role: dict[str, set[str]] = {}
    count = 0
    for i, binding in enumerate(policy.bindings):
        at = f"bindings[{i}]"
        if binding.condition is not None:
            raise _bad(f"{at}.condition", "Conditions are not evaluated here.", "Leave it out.")
        _check_role(binding.role, kind, at=f"{at}.role")
        for member in binding.members:
            check_member(member, field=f"policy.{at}.members", anybody=True)
        by_role.setdefault(binding.role, set()).update(binding.members)
        count += len(binding.members)
    if count > _MAX_PRINCIPALS:
        raise _bad(
            "bindings", f"The policy names {count} principals.", f"At most {_MAX_PRINCIPALS}."
        )
    bindings = [
        Binding(role=role, members=sorted(found)) for role, found in by_role.items() if found
    ]
    return Policy(version=1, bindings=bindings, etag=policy.etag)


def check_member(text: str, *, field: str, anybody: bool = False) -> str:
    """Return a member if it is one that a key may have.

    Args:
        text: Such as ``user:anna@example.com`` or ``serviceAccount:shop-web``.
        field: Where it stands, for the message.
        anybody: Whether ``allAuthenticatedUsers`` is one, too.

    Raises:
        InvalidArgument: It is another's kind, or none.
    """
    if _MEMBER.fullmatch(text) or (anybody and text == _ANYBODY):
        return text
    kind = text.partition(":")[0]
    if text == "allUsers":
        problem = "'allUsers' means callers without a key, and no call without one is answered."
    elif kind in ("group", "domain", "deleted", "principal", "principalSet") or kind.startswith(
        "project"
    ):
        problem = f"An engine knows keys and no {kind!r}: {text[:80]!r}."
    else:
        problem = f"{text[:80]!r} is no member."
    more = f", or {_ANYBODY} for every key" if anybody else ""
    raise InvalidArgument(problem, f"Write user:NAME or serviceAccount:ID{more}.", field=field)


def check_permissions(names: Sequence[str]) -> list[str]:
    """Return the permissions that are asked about, each once.

    Raises:
        InvalidArgument: There are too many, or one is a pattern.
    """
    if len(names) > _MAX_PERMISSIONS:
        raise InvalidArgument(
            f"{len(names)} permissions are too many.",
            f"Ask about at most {_MAX_PERMISSIONS}.",
            field="permissions",
        )
    for name in names:
        if "*" in name or not name:
            raise InvalidArgument(
                f"{name[:80]!r} is no permission.", "Name each by itself.", field="permissions"
            )
    return list(dict.fromkeys(names))


def check_policy_mask(mask: str) -> None:
    """Refuse a mask that asks for something else than the bindings to be set.

    Raises:
        InvalidArgument: It names another field, or not the bindings.
    """
    paths = [path.strip() for path in mask.split(",") if path.strip()]
    for path in paths:
        if path not in ("bindings", "etag", "version"):
            raise InvalidArgument(
                f"{path[:80]!r} cannot be set.", "Use 'bindings,etag'.", field="update_mask"
            )
    if paths and "bindings" not in paths:
        raise InvalidArgument(
            f"The mask {mask[:80]!r} leaves nothing to set.",
            "Use 'bindings,etag'.",
            field="update_mask",
        )


def check_policy_version(requested: int) -> None:
    """Refuse a version of policies that there is not; all that there are read the same here.

    Raises:
        InvalidArgument: It is not 0, 1 or 3.
    """
    if requested not in _VERSIONS:
        raise InvalidArgument(
            f"There is no policy version {requested}.",
            "Use 1.",
            field="options.requested_policy_version",
        )


def add_binding(policy: Policy, role: str, member: str) -> Policy:
    """Return the policy with one member more."""
    found = [*policy.bindings, Binding(role=role, members=[member])]
    return msgspec.structs.replace(policy, version=1, bindings=_joined(found))


def remove_binding(policy: Policy, role: str, member: str) -> Policy:
    """Return the policy without a member's role.

    Raises:
        InvalidArgument: The member has not got it.
    """
    if not any(b.role == role and member in b.members for b in policy.bindings):
        raise InvalidArgument(
            f"Policy binding with member {member!r} and role {role!r} was not found.",
            "See what there is with 'mlengine models get-iam-policy'.",
        )
    found = [
        Binding(role=b.role, members=[m for m in b.members if (b.role, m) != (role, member)])
        for b in policy.bindings
    ]
    return msgspec.structs.replace(policy, bindings=_joined(found))


def _joined(bindings: Sequence[Binding]) -> list[Binding]:
    by_role: dict[str, list[str]] = {}
    for binding in bindings:
        by_role.setdefault(binding.role, []).extend(binding.members)
    return [
        Binding(role=role, members=sorted(set(members)))
        for role, members in by_role.items()
        if members
    ]


def _check_role(role: str, kind: PolicyKind, *, at: str) -> None:
    if role not in ROLES:
        raise _bad(
            at,
            f"There is no role {role[:80]!r}.",
            f"{did_you_mean(role, ROLES)}See docs/access.md for those there are.",
        )
    if not any(permission.startswith(PERMISSIONS_OVER[kind]) for permission in ROLES[role]):
        raise _bad(at, f"The role {role!r} gives nothing over {kind}.", "Choose another.")


def _bad(field: str, problem: str, remedy: Any) -> InvalidArgument:
    return InvalidArgument(problem, remedy, field=f"policy.{field}")
