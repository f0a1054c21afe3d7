"""Who may do what: one table of permissions and roles, and the one decision over it.

Pure; the engine's guard, its IAM methods and what the gateway is told all ask here, so that no call
is judged in two ways. Names are those of Google's service (``ml.…``); what that has not is ours
(``mlengine.…``).

    the engine's own token      every permission, in every project
    a key with a project role   what the role holds, in the key's project
    a key with models           predictions by these models of its project
    a policy of a resource      what a role holds, over that one model, job or operation

Whatever none of these gives is refused. None takes anything away, so their order means nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from mlengine.core.callers import Caller

__all__ = [
    "ENGINE_ROLES",
    "KNOWN",
    "OPEN",
    "PERMISSIONS",
    "PROJECT_ROLES",
    "ROLES",
    "Granted",
    "held",
    "is_audited",
    "is_route_permission",
    "may",
]

OPEN = "open"
"""Of a route that needs no token."""

KNOWN = "known"
"""Of a route that every caller may call; what it answers depends on the caller."""


class Granted(NamedTuple):
    """A binding of a resource's policy: a role, and who has it."""

    role: str
    members: Collection[str]


def _all(kind: str, verbs: str) -> frozenset[str]:
    return frozenset(f"{kind}.{verb}" for verb in verbs.split())


_POLICY = "getIamPolicy setIamPolicy"
_JOBS = _all("ml.jobs", f"create get list cancel update {_POLICY}")
_MODELS = _all("ml.models", f"create get list update delete predict {_POLICY}")
_VERSIONS = _all("ml.versions", "create get list update delete predict")
_OPERATIONS = _all("ml.operations", "get list cancel")
_PLACES = _all("ml.locations", "get list") | {"ml.projects.getConfig"}
_STUDIES = _all("ml.studies", "create get list delete")
_TRIALS = _all("ml.trials", "create get list update delete")
_KEYS = _all("mlengine.keys", "create get list revoke")
_BUCKETS = _all("mlengine.buckets", "create list")
_OBJECTS = _all("mlengine.objects", "create get list delete")
_RUNTIMES = _all("mlengine.runtimes", "get list")
_BUILD = frozenset({"mlengine.runtimes.build"})
_STATUS = frozenset({"mlengine.engine.get"})
_METRICS = frozenset({"mlengine.metrics.get"})
_LOGS = _all("mlengine.predictions", "list label")
# What concerns all projects at once, and is taken from all of them: the engine's own token only.
_WHOLE = frozenset(
    {"mlengine.buckets.delete", "mlengine.runtimes.delete", "mlengine.environments.collect"}
)

PERMISSIONS: frozenset[str] = (
    _JOBS | _MODELS | _VERSIONS | _OPERATIONS | _PLACES | _STUDIES | _TRIALS | _KEYS | _BUCKETS
    | _OBJECTS | _RUNTIMES | _BUILD | _STATUS | _METRICS | _LOGS | _WHOLE
)  # fmt: skip
"""Every permission that there is."""

_USER = frozenset(
    {"ml.models.get", "ml.models.predict", "ml.versions.get", "ml.versions.list",
     "ml.versions.predict"}
)  # fmt: skip
_PREDICT = frozenset({"ml.models.predict", "ml.versions.predict"})
_VIEWER = (
    _all("ml.jobs", "get list") | _all("ml.models", "get list") | _all("ml.versions", "get list")
    | _all("ml.operations", "get list") | _all("ml.studies", "get list")
    | _all("ml.trials", "get list") | _PLACES | _RUNTIMES | _STATUS
)  # fmt: skip
_DEVELOPER = (
    _VIEWER | _PREDICT | _STUDIES | _TRIALS | _BUCKETS | _OBJECTS | _BUILD | _LOGS
    | {"ml.jobs.create", "ml.jobs.getIamPolicy", "ml.models.create", "ml.models.getIamPolicy"}
)  # fmt: skip
_ADMIN = _DEVELOPER | _JOBS | _MODELS | _VERSIONS | _OPERATIONS | _KEYS

ROLES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "roles/ml.admin": _ADMIN,
        "roles/ml.developer": _DEVELOPER,
        "roles/ml.viewer": _VIEWER,
        "roles/ml.jobOwner": _JOBS - {"ml.jobs.create", "ml.jobs.list"},
        "roles/ml.modelOwner": (_MODELS | _VERSIONS) - {"ml.models.create", "ml.models.list"},
        "roles/ml.modelUser": _USER,
        "roles/ml.operationOwner": _OPERATIONS - {"ml.operations.list"},
        "roles/mlengine.monitor": _METRICS | _STATUS,
        "roles/owner": _ADMIN,
        "roles/editor": _DEVELOPER,
        "roles/viewer": _VIEWER,
    }
)
"""Role → what it holds; the basic three are other names for ours."""

PROJECT_ROLES: Mapping[str, str] = MappingProxyType(
    {"viewer": "roles/ml.viewer", "developer": "roles/ml.developer", "admin": "roles/ml.admin"}
)
"""What a key may be in its project → the role."""

ENGINE_ROLES: Mapping[str, str] = MappingProxyType({"monitor": "roles/mlengine.monitor"})
"""What a key may be over the whole engine; only the engine's own token gives it."""

_NONE: frozenset[str] = frozenset()
_READS = frozenset({"get", "list", "predict", "getIamPolicy", "getConfig"})
_ANYBODY = "allAuthenticatedUsers"


def held(
    caller: Caller, *, project: str, model: str = "", policy: Iterable[Granted] = ()
) -> frozenset[str]:
    """Return every permission that a caller has over a resource.

    Args:
        caller: Who asks.
        project: The resource's project; empty for what belongs to the engine.
        model: Id of the model that the resource is, or is a part of.
        policy: The bindings of the resource's own policy.

    Example:
        >>> app = Caller(key="app", project="p", models=frozenset({"census"}))
        >>> sorted(held(app, project="p", model="census"))
        ['ml.models.predict', 'ml.versions.predict']
        >>> sorted(held(app, project="other", model="census"))
        []
    """
    if caller.is_owner:
        return PERMISSIONS
    found = ROLES.get(ENGINE_ROLES.get(caller.role, ""), _NONE)
    if not project or project == caller.project:
        found |= ROLES.get(PROJECT_ROLES.get(caller.role, ""), _NONE)
    if project and project == caller.project and model in caller.models:
        found |= _PREDICT
    for role, members in policy:
        # A member's name means somebody in its own project only: who may make keys in another
        # chooses their members' names, too.
        if _ANYBODY in members or (project == caller.project and caller.member in members):
            found |= ROLES.get(role, _NONE)
    return found


def may(
    caller: Caller,
    permission: str,
    *,
    project: str,
    model: str = "",
    policy: Iterable[Granted] = (),
) -> bool:
    """Tell whether a caller has one permission over a resource; see `held`."""
    return permission in held(caller, project=project, model=model, policy=policy)


def is_audited(permission: str) -> bool:
    """Tell whether using a permission changes something whose story is told in the log.

    Trials are reported by the thousand and keep their own books; one that is deleted keeps none.
    """
    kind, _dot, verb = permission.rpartition(".")
    is_report = kind == "ml.trials" and verb != "delete"
    return permission in PERMISSIONS and verb not in _READS and not is_report


def is_route_permission(permission: str) -> bool:
    """Tell whether a route may name this as what its callers need."""
    return permission in PERMISSIONS or permission in (OPEN, KNOWN)
