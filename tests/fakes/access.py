"""Keys and policies of an engine of dictionaries: kept, and checked as the real one checks them."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence

import msgspec

from mlengine.core.callers import current_caller
from mlengine.core.errors import Aborted, AlreadyExists, NotFound
from mlengine.core.keys import Key, check_key, key_name
from mlengine.core.permissions import held
from mlengine.core.policies import (
    Policy,
    PolicyKind,
    check_permissions,
    check_policy,
    check_policy_mask,
    check_policy_version,
    granted,
)
from mlengine.core.resources import Job, Model

__all__ = ["FakeAccess"]

_NOW = datetime.datetime(2018, 3, 2, 6, 50, 6, tzinfo=datetime.UTC)
_TIME = "2018-03-02T06:50:06Z"


class FakeAccess:
    """Keeps keys and policies in dictionaries; nobody is refused anything.

    Attributes:
        before: Called with the verb's name first.
    """

    before: Callable[[str], None]
    models: dict[tuple[str, str], Model]
    jobs: dict[tuple[str, str], Job]

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, Key] = {}
        self.policies: dict[tuple[str, str, str], Policy] = {}

    def create_key(self, project: str, key: Key) -> Key:
        self.before("create_key")
        kept = check_key(project, key, now=_NOW)
        name = key_name(project, kept.name)
        if name in self.keys:
            raise AlreadyExists(f"There is a key '{kept.name}'.", field="key.name")
        self.keys[name] = msgspec.structs.replace(kept, name=name, create_time=_TIME)
        return msgspec.structs.replace(self.keys[name], key_string=f"mlk_{kept.name}")

    def get_key(self, project: str, key_id: str) -> Key:
        self.before("get_key")
        try:
            return self.keys[key_name(project, key_id)]
        except KeyError:
            raise NotFound(f"The key '{key_id}' was not found.", field="name") from None

    def list_keys(self, project: str) -> list[Key]:
        self.before("list_keys")
        prefix = key_name(project, "")
        return [key for name, key in reversed(self.keys.items()) if name.startswith(prefix)]

    def revoke_key(self, project: str, key_id: str) -> Key:
        self.before("revoke_key")
        key = self.get_key(project, key_id)
        key.revoke_time = key.revoke_time or _TIME
        return key

    def get_iam_policy(
        self, kind: PolicyKind, project: str, resource_id: str, *, requested_version: int = 0
    ) -> Policy:
        self.before("get_iam_policy")
        check_policy_version(requested_version)
        self._find(kind, project, resource_id)
        return self.policies.get((kind, project, resource_id), Policy(etag="MA=="))

    def set_iam_policy(
        self,
        kind: PolicyKind,
        project: str,
        resource_id: str,
        policy: Policy,
        *,
        update_mask: str = "",
    ) -> Policy:
        self.before("set_iam_policy")
        check_policy_mask(update_mask)
        kept = check_policy(policy, kind=kind)
        if policy.etag not in ("", self.get_iam_policy(kind, project, resource_id).etag):
            raise Aborted("There were concurrent policy changes.", field="policy.etag")
        self.policies[kind, project, resource_id] = kept
        kept.etag = f"e{id(kept)}"
        return kept

    def test_iam_permissions(
        self, kind: PolicyKind, project: str, resource_id: str, permissions: Sequence[str]
    ) -> list[str]:
        self.before("test_iam_permissions")
        asked = check_permissions(permissions)
        try:
            policy = self.get_iam_policy(kind, project, resource_id)
        except NotFound:
            return []
        found = held(current_caller(), project=project, policy=granted(policy))
        return [name for name in asked if name in found]

    def _find(self, kind: PolicyKind, project: str, resource_id: str) -> None:
        there = self.models if kind == "models" else self.jobs
        if (project, resource_id) not in there:
            raise NotFound(f"{kind}/{resource_id} was not found.", field="name")
