"""What `Engine` has for keys and policies, and what a face asks before it calls any verb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mlengine.core.callers import Caller
from mlengine.core.keys import Key
from mlengine.core.policies import Policy, PolicyKind

__all__ = ["AccessVerbs", "Doorkeeper"]


class AccessVerbs(Protocol):
    """The verbs; what they do stands in `engine.access`."""

    # keys
    def create_key(self, project: str, key: Key) -> Key:
        """Make a key; its text is in this answer and nowhere else."""
        ...

    def get_key(self, project: str, key_id: str) -> Key: ...
    def list_keys(self, project: str) -> list[Key]:
        """List every key, newest first, those that were revoked, too."""
        ...

    def revoke_key(self, project: str, key_id: str) -> Key:
        """Have a key count no more, at once and for ever; no effect on a revoked one."""
        ...

    # policies
    def get_iam_policy(
        self, kind: PolicyKind, project: str, resource_id: str, *, requested_version: int = 0
    ) -> Policy: ...
    def set_iam_policy(
        self,
        kind: PolicyKind,
        project: str,
        resource_id: str,
        policy: Policy,
        *,
        update_mask: str = "",
    ) -> Policy:
        """Replace a policy; with its etag only if nobody else did so meanwhile."""
        ...

    def test_iam_permissions(
        self, kind: PolicyKind, project: str, resource_id: str, permissions: Sequence[str]
    ) -> list[str]:
        """Return those that the caller has; none for a resource that is not there."""
        ...


class Doorkeeper(Protocol):
    """Who calls, and whether that is allowed; asked by a face, never a verb itself."""

    def caller(self, digest: str) -> Caller | None:
        """Return whom a key is of, by its digest; None if it does not count."""
        ...

    def admits(
        self,
        caller: Caller,
        permission: str,
        *,
        project: str = "",
        kind: PolicyKind | None = None,
        resource_id: str = "",
    ) -> bool:
        """Tell whether a caller has a permission over a resource, which need not be there."""
        ...

    def owns(
        self, caller: Caller, role: str, *, kind: PolicyKind, project: str, resource_id: str
    ) -> None:
        """Give whoever made a resource a role over it."""
        ...
