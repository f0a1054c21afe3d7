"""`SqlAccess`: what `SqlStore` has for access; one method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mlengine.core.keys import Key
from mlengine.core.policies import Policy, PolicyKind
from mlengine.store import access as rows
from mlengine.store.accessstore import AccessStore, KeyRecord
from mlengine.store.database import Database

__all__ = ["SqlAccess"]


class SqlAccess:
    """An `AccessStore` over one `Database`; see the contract there."""

    _database: Database

    def add_key(self, project: str, key: Key, *, digest: str) -> KeyRecord:
        return self._database.write(rows.add_key, project, key, digest=digest)

    def key(self, project: str, key_id: str) -> KeyRecord:
        return self._database.read(rows.get_key, project, key_id)

    def keys(self, project: str) -> Sequence[KeyRecord]:
        return self._database.read(rows.keys_of, project)

    def key_of(self, digest: str) -> KeyRecord | None:
        return self._database.read(rows.key_of, digest)

    def open_keys(self) -> Sequence[KeyRecord]:
        return self._database.read(rows.open_keys)

    def revoke_key(self, project: str, key_id: str) -> KeyRecord:
        return self._database.write(rows.revoke_key, project, key_id)

    def policy(self, kind: PolicyKind, project: str, resource_id: str) -> Policy:
        return self._database.read(rows.policy, kind, project, resource_id)

    def model_policies(self) -> Mapping[tuple[str, str], Policy]:
        return self._database.read(rows.model_policies)

    def edit_policy(
        self,
        kind: PolicyKind,
        project: str,
        resource_id: str,
        change: Callable[[Policy], Policy],
    ) -> Policy:
        return self._database.write(rows.edit_policy, kind, project, resource_id, change)


_: type[AccessStore] = SqlAccess
