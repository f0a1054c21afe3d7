"""Keys and policies of a local engine: kept, decided by, and told to the gateway at once.

The records are the truth, and the engine reads them at every call of a key: a key that another
engine of the same database revoked is refused here by the next request. The gateway decides by
what it was told; so what changes a right returns only when the gateway has it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec

from mlengine.core.access import new_key, token_digest
from mlengine.core.callers import Caller, current_caller
from mlengine.core.clock import Clock
from mlengine.core.errors import (
    Aborted,
    EngineError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from mlengine.core.keys import Key, caller_of, check_key, expires_s, key_name
from mlengine.core.names import check_project, model_name, parse_model_or_version
from mlengine.core.permissions import ENGINE_ROLES, ROLES, held
from mlengine.core.policies import (
    PERMISSIONS_OVER,
    Policy,
    PolicyKind,
    add_binding,
    check_permissions,
    check_policy,
    check_policy_mask,
    check_policy_version,
    granted,
)
from mlengine.core.resources import Job
from mlengine.engine.accessverbs import AccessVerbs, Doorkeeper
from mlengine.store import Store
from mlengine.store.accessstore import KeyRecord

__all__ = ["Access", "LocalAccess"]

_log = logging.getLogger(__name__)
_PREDICT = "ml.models.predict"


class Access:
    """The verbs of `AccessVerbs`, and the `Doorkeeper`.

    Args:
        store: Where keys and policies are.
        clock: By which keys expire.
        enforce: Returns once the gateway decides by the newest records; raises if it does not.
    """

    def __init__(self, store: Store, *, clock: Clock, enforce: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._enforce = enforce

    # --- keys ---

    def create_key(self, project: str, key: Key) -> Key:
        kept = check_key(project, key, now=self._clock.now())
        if kept.role in ENGINE_ROLES and not current_caller().is_owner:
            raise PermissionDenied(
                f"The role '{kept.role}' is of the engine and not of a project.",
                "Whoever has the engine's own token can give it.",
                field="key.role",
            )
        text = new_key()
        record = self._store.add_key(project, kept, digest=token_digest(text))
        try:
            self._enforce()
        except EngineError as error:  # its text must not be lost; the gateway will hear of it
            _log.warning("the key %s is made, but: %s", key_name(project, kept.name), error)
        return msgspec.structs.replace(_view(record), key_string=text)

    def get_key(self, project: str, key_id: str) -> Key:
        return _view(self._store.key(project, key_id))

    def list_keys(self, project: str) -> list[Key]:
        return [_view(record) for record in self._store.keys(check_project(project))]

    def revoke_key(self, project: str, key_id: str) -> Key:
        record = self._store.revoke_key(project, key_id)
        self._enforce()
        return _view(record)

    # --- policies ---

    def get_iam_policy(
        self, kind: PolicyKind, project: str, resource_id: str, *, requested_version: int = 0
    ) -> Policy:
        check_policy_version(requested_version)
        self._find(kind, project, resource_id)
        return self._store.policy(kind, project, resource_id)

    def set_iam_policy(
        self,
        kind: PolicyKind,
        project: str,
        resource_id: str,
        policy: Policy,
        *,
        update_mask: str = "",
    ) -> Policy:
        check_policy_mask(update_mask)
        kept = check_policy(policy, kind=kind)

        def change(before: Policy) -> Policy:
            if policy.etag and policy.etag != before.etag:
                raise Aborted(
                    "There were concurrent policy changes.",
                    "Read the policy again and repeat your change.",
                    field="policy.etag",
                )
            return kept

        self._find(kind, project, resource_id)
        found = self._store.edit_policy(kind, project, resource_id, change)
        self._enforce()
        return found

    def test_iam_permissions(
        self, kind: PolicyKind, project: str, resource_id: str, permissions: Sequence[str]
    ) -> list[str]:
        asked = check_permissions(permissions)
        try:
            self._find(kind, project, resource_id)
        except NotFound:
            return []
        found = self._held(current_caller(), project, kind, resource_id)
        its = PERMISSIONS_OVER[kind]
        return [name for name in asked if name in found and name.startswith(its)]

    def _find(self, kind: PolicyKind, project: str, resource_id: str) -> None:
        if kind == "models":
            self._store.model(project, resource_id)
        elif self._store.job(project, resource_id).parent:
            raise InvalidArgument("A trial has no policy.", "Ask for that of its job.")

    # --- what a request names besides its path ---

    def check_job(self, project: str, job: Job) -> None:
        """Refuse a job that asks a model of another project which its maker may not ask.

        Raises:
            PermissionDenied: It does.
        """
        caller, spec = current_caller(), job.prediction_input
        name = (spec.version_name or spec.model_name) if spec else ""
        if caller.is_owner or "/" not in name:
            return
        ref = parse_model_or_version(name, field="prediction_input.model_name")
        if ref.project != project and not self.admits(
            caller, _PREDICT, project=ref.project, kind="models", resource_id=ref.model_id
        ):
            raise PermissionDenied(
                f"Permission '{_PREDICT}' denied on resource "
                f"'{model_name(ref.project, ref.model_id)}' (or it may not exist).",
                "Name a model of the job's own project.",
                field="prediction_input.model_name",
            )

    # --- the doorkeeper ---

    def caller(self, digest: str) -> Caller | None:
        record = self._store.key_of(digest)
        if record is None or 0 < expires_s(record.key) <= self._clock.now().timestamp():
            return None
        return caller_of(record.project, record.key)

    def admits(
        self,
        caller: Caller,
        permission: str,
        *,
        project: str = "",
        kind: PolicyKind | None = None,
        resource_id: str = "",
    ) -> bool:
        model_id = resource_id if kind == "models" else ""
        if permission in held(caller, project=project, model=model_id):
            return True
        # Read for resources that are not there, too: the answer takes as long either way.
        return kind is not None and permission in self._held(caller, project, kind, resource_id)

    def owns(
        self, caller: Caller, role: str, *, kind: PolicyKind, project: str, resource_id: str
    ) -> None:
        if caller.project != project or ROLES[role] <= held(caller, project=project):
            return
        try:
            self._store.edit_policy(
                kind, project, resource_id, lambda now: add_binding(now, role, caller.member)
            )
            if kind == "models":
                self._enforce()
        except EngineError as error:  # what was made is there: saying otherwise would be wrong
            _log.warning("%s made %s/%s but does not own it: %s", caller.key, kind, resource_id,
                         error)  # fmt: skip

    def _held(
        self, caller: Caller, project: str, kind: PolicyKind, resource_id: str
    ) -> frozenset[str]:
        policy = granted(self._store.policy(kind, project, resource_id))
        model_id = resource_id if kind == "models" else ""
        return held(caller, project=project, model=model_id, policy=policy)


class LocalAccess:
    """How a local engine has the verbs: each is `Access`'s."""

    _access: Access

    def create_key(self, project: str, key: Key) -> Key:
        return self._access.create_key(project, key)

    def get_key(self, project: str, key_id: str) -> Key:
        return self._access.get_key(project, key_id)

    def list_keys(self, project: str) -> list[Key]:
        return self._access.list_keys(project)

    def revoke_key(self, project: str, key_id: str) -> Key:
        return self._access.revoke_key(project, key_id)

    def get_iam_policy(
        self, kind: PolicyKind, project: str, resource_id: str, *, requested_version: int = 0
    ) -> Policy:
        return self._access.get_iam_policy(
            kind, project, resource_id, requested_version=requested_version
        )

    def set_iam_policy(
        self,
        kind: PolicyKind,
        project: str,
        resource_id: str,
        policy: Policy,
        *,
        update_mask: str = "",
    ) -> Policy:
        return self._access.set_iam_policy(
            kind, project, resource_id, policy, update_mask=update_mask
        )

    def test_iam_permissions(
        self, kind: PolicyKind, project: str, resource_id: str, permissions: Sequence[str]
    ) -> list[str]:
        return self._access.test_iam_permissions(kind, project, resource_id, permissions)


def _view(record: KeyRecord) -> Key:
    name = key_name(record.project, record.key_id)
    return msgspec.structs.replace(record.key, name=name)


_: type[AccessVerbs] = LocalAccess
_keeper: type[Doorkeeper] = Access
