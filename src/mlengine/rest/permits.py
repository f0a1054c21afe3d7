"""Whether a caller may call a route, who owns what it made, and the line that tells of it.

The decision is `core.permissions`'; this only says which resource a path is about. It is taken
before anything looks at that resource, so that a refusal is the same whether it is there or not.
"""

from __future__ import annotations

import logging

from mlengine.core.callers import Caller
from mlengine.core.errors import PermissionDenied
from mlengine.core.names import last_id
from mlengine.core.permissions import KNOWN, OPEN, is_audited
from mlengine.core.policies import PolicyKind
from mlengine.core.resources import Job, Model, Operation
from mlengine.engine.accessverbs import Doorkeeper
from mlengine.rest.calls import Answer
from mlengine.rest.routes import Match

__all__ = ["NoKeys", "Permits", "note"]

_audit = logging.getLogger("mlengine.audit")
_KINDS: tuple[tuple[str, PolicyKind], ...] = (
    ("model", "models"),
    ("job", "jobs"),
    ("operation", "operations"),
)


class NoKeys:
    """The `Doorkeeper` of an engine that has no keys: only its own token opens."""

    def caller(self, digest: str) -> Caller | None:
        """Know nobody."""
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
        """Let nobody in."""
        return caller.is_owner

    def owns(
        self, caller: Caller, role: str, *, kind: PolicyKind, project: str, resource_id: str
    ) -> None:
        """Give nothing."""


_: type[Doorkeeper] = NoKeys


class Permits:
    """Asks a `Doorkeeper` about matched routes; its methods may read the records."""

    def __init__(self, doorkeeper: Doorkeeper) -> None:
        self._doorkeeper = doorkeeper

    def needs_asking(self, caller: Caller, match: Match) -> bool:
        """Tell whether `check` has to be called; most calls are the owner's."""
        return not caller.is_owner and match.route.permission not in (OPEN, KNOWN)

    def check(self, caller: Caller, match: Match) -> None:
        """Let the caller through.

        Raises:
            PermissionDenied: It has not got what the route needs.
        """
        ids, permission = match.ids, match.route.permission
        project = ids.get("project", "")
        parameter, kind = next((pair for pair in _KINDS if pair[0] in ids), ("", None))
        resource_id = ids.get(parameter, "")
        if self._doorkeeper.admits(
            caller, permission, project=project, kind=kind, resource_id=resource_id
        ):
            return
        if not project:
            raise PermissionDenied(
                f"Permission '{permission}' denied on the engine.",
                "Ask whoever has the engine's own token for a key that has it, or to do it.",
            )
        where = f"projects/{project}" + (f"/{kind}/{resource_id}" if kind else "")
        raise PermissionDenied(
            f"Permission '{permission}' denied on resource '{where}' (or it may not exist).",
            "Ask an admin of the project for a key, or a role, that has it.",
        )

    def own(self, caller: Caller, match: Match, answer: Answer) -> None:
        """Give the caller the route's role over what it made."""
        if caller.is_owner or not match.route.owner:
            return
        made: tuple[PolicyKind, str] | None = None
        if isinstance(answer, Job):
            made = "jobs", answer.job_id
        elif isinstance(answer, Model):
            made = "models", last_id(answer.name)
        elif isinstance(answer, Operation):
            made = "operations", last_id(answer.name)
        if made:
            kind, resource_id = made
            self._doorkeeper.owns(
                caller, match.route.owner,
                kind=kind, project=match.ids["project"], resource_id=resource_id,
            )  # fmt: skip


def note(caller: Caller, match: Match, path: str, status: int) -> None:
    """Log who changed what, or was not let; never what was sent, which may hold secrets."""
    if is_audited(match.route.permission):
        _audit.info("%s: %s %r: %d", caller.key, match.route.id, path, status)
