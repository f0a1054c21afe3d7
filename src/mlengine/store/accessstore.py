"""What `Store` has for access: keys, and the policies of models, jobs and operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from mlengine.core.keys import Key
from mlengine.core.policies import Policy, PolicyKind

__all__ = ["AccessStore", "KeyRecord"]


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it was read; `key.name` is the bare id, `key.key_string` never is there.

    Attributes:
        digest: SHA-256 of its text, in hex.
    """

    seq: int
    project: str
    key: Key
    digest: str

    @property
    def key_id(self) -> str:
        return self.key.name


class AccessStore(Protocol):
    """The methods; `Store` says what holds of all of them."""

    # keys
    def add_key(self, project: str, key: Key, *, digest: str) -> KeyRecord:
        """Keep a key; `AlreadyExists` when its id was ever used in the project."""
        ...

    def key(self, project: str, key_id: str) -> KeyRecord: ...
    def keys(self, project: str) -> Sequence[KeyRecord]:
        """Return every key, newest first, those that were revoked, too."""
        ...

    def key_of(self, digest: str) -> KeyRecord | None:
        """Return the key that counts and has this digest."""
        ...

    def open_keys(self) -> Sequence[KeyRecord]:
        """Return the keys of all projects that were not revoked, oldest first."""
        ...

    def revoke_key(self, project: str, key_id: str) -> KeyRecord:
        """Have a key count no more, for ever; again changes nothing."""
        ...

    # policies
    def policy(self, kind: PolicyKind, project: str, resource_id: str) -> Policy:
        """Return the policy of a resource, there or not; one that was never set has no bindings."""
        ...

    def model_policies(self) -> Mapping[tuple[str, str], Policy]:
        """Return every model's that was ever set: (project, model id) → policy."""
        ...

    def edit_policy(
        self,
        kind: PolicyKind,
        project: str,
        resource_id: str,
        change: Callable[[Policy], Policy],
    ) -> Policy:
        """Set the policy that `change` makes of the newest; `NotFound` without the resource.

        A model's goes when it does. The etag is the store's to make.
        """
        ...
