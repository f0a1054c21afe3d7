"""Keys and policies of an engine somewhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlengine.client.calls import Calls, path_part, query_text, v1
from mlengine.core.keys import Key
from mlengine.core.names import job_name, model_name, operation_name, project_name
from mlengine.core.policies import (
    Policy,
    PolicyKind,
    SetIamPolicyRequest,
    TestIamPermissionsRequest,
    TestIamPermissionsResponse,
)
from mlengine.core.wire import decode_answer
from mlengine.engine.accessverbs import AccessVerbs

__all__ = ["HttpAccess"]

_NAMES: dict[PolicyKind, Callable[..., str]] = {
    "models": model_name,
    "jobs": job_name,
    "operations": operation_name,
}


class HttpAccess(Calls):
    """The verbs of `AccessVerbs`, over HTTP."""

    def create_key(self, project: str, key: Key) -> Key:
        """Make a key; not repeated when a connection breaks, for its text would be lost."""
        return decode_answer(Key, self._call("POST", _keys(project), key), at="key")

    def get_key(self, project: str, key_id: str) -> Key:
        """Describe a key."""
        return self._get(Key, _key(project, key_id))

    def list_keys(self, project: str) -> list[Key]:
        """List every key of a project."""
        return self._list(Key, "keys", _keys(project)).items

    def revoke_key(self, project: str, key_id: str) -> Key:
        """Have a key count no more."""
        found = self._call("POST", _key(project, key_id) + ":revoke", safe=True)
        return decode_answer(Key, found, at="key")

    def get_iam_policy(
        self, kind: PolicyKind, project: str, resource_id: str, *, requested_version: int = 0
    ) -> Policy:
        """Return a resource's policy."""
        version = str(requested_version) if requested_version else ""
        query = query_text(**{"options.requestedPolicyVersion": version})
        return self._get(Policy, _path(kind, project, resource_id) + ":getIamPolicy" + query)

    def set_iam_policy(
        self,
        kind: PolicyKind,
        project: str,
        resource_id: str,
        policy: Policy,
        *,
        update_mask: str = "",
    ) -> Policy:
        """Replace a resource's policy."""
        # With an etag, a second try of one that was done would be told that it came too late.
        safe = not policy.etag
        request = SetIamPolicyRequest(policy=policy, update_mask=update_mask)
        path = _path(kind, project, resource_id) + ":setIamPolicy"
        return decode_answer(Policy, self._call("POST", path, request, safe=safe), at="policy")

    def test_iam_permissions(
        self, kind: PolicyKind, project: str, resource_id: str, permissions: Sequence[str]
    ) -> list[str]:
        """Return those permissions that the bearer of this token has."""
        request = TestIamPermissionsRequest(permissions=list(permissions))
        path = _path(kind, project, resource_id) + ":testIamPermissions"
        found = self._call("POST", path, request, safe=True)
        return decode_answer(TestIamPermissionsResponse, found, at="response").permissions


_: type[AccessVerbs] = HttpAccess


def _keys(project: str) -> str:
    return "/api" + v1(project_name, project) + "/keys"


def _key(project: str, key_id: str) -> str:
    return f"{_keys(project)}/{path_part(key_id)}"


def _path(kind: PolicyKind, project: str, resource_id: str) -> str:
    return v1(_NAMES[kind], project, resource_id)
