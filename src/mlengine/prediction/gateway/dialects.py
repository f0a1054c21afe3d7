"""What a URL of TensorFlow Serving or of the Open Inference Protocol asks, and of which version.

    /v1/models/M[/versions/V|/labels/L]            GET   tfserving: status
    /v1/models/M[/versions/V|/labels/L]/metadata   GET   tfserving: metadata
    /v1/models/M[/versions/V|/labels/L]:VERB       POST  tfserving: predict, classify, regress
    /v2, /v2/health/live, /v2/health/ready         GET   openinference: the server
    /v2/models/M[/versions/V][/ready]              GET   openinference: metadata, ready
    /v2/models/M[/versions/V]/infer                POST  openinference: infer
    /api/v1/limits                                 GET   what a request may be, ours

These URLs name no project: the models are those of the setting ``project``. Their versions are
numbers, ours are ids: the number N is the version ``vN``, and an id may stand there as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from mlengine import __version__
from mlengine.core.errors import EngineError, NotFound, PermissionDenied
from mlengine.core.limits import MAX_PREDICT_BYTES
from mlengine.core.names import is_id, model_name, model_of, version_name
from mlengine.prediction.routing import Grant, PredictTarget, Snapshot, find_version

__all__ = ["Asked", "WrongMethod", "answer_here", "judge_path", "read_path",
           "shown_version", "target_of"]  # fmt: skip

_VERBS = frozenset({"predict", "classify", "regress"})
_SERVER = {
    ("v2",): "server",
    ("v2", "health", "live"): "live",
    ("v2", "health", "ready"): "ready",
}
_OPEN = frozenset({"live", "ready"})
_ANSWERED_HERE = frozenset({"server", "live", "ready", "status", "limits"})
_STATES = {"READY": "AVAILABLE", "UPDATING": "AVAILABLE", "CREATING": "LOADING",
           "DELETING": "UNLOADING"}  # fmt: skip


class Asked(NamedTuple):
    """What a path asks.

    Attributes:
        dialect: ``tfserving``, ``openinference`` or ``ml_v1``.
        operation: ``predict``, ``status``, …
        method: The HTTP method that asks it.
        model: The model's id; empty where the server itself is asked.
        version: What stands for the version; empty for the one that answers by default.
    """

    dialect: str
    operation: str
    method: bytes
    model: str = ""
    version: str = ""

    def is_open(self, method: bytes) -> bool:
        """Whether it says nothing that needs a token: the server's own health."""
        return not self.model and self.operation in _OPEN and method in self.methods

    @property
    def methods(self) -> tuple[bytes, ...]:
        """Every HTTP method that asks it."""
        return (b"GET", b"HEAD") if self.method == b"GET" else (self.method,)


class WrongMethod(PermissionDenied):
    """The path exists, the method does not."""

    http_status = 405

    def __init__(self, method: bytes, asked: Asked) -> None:
        self.allowed = b", ".join(asked.methods).decode()
        name = method.decode("latin-1")[:20]
        super().__init__(f"The method {name!r} is not allowed here.", f"Allowed: {self.allowed}.")


def read_path(raw_path: bytes) -> Asked | None:
    """Tell what a URL path asks; None when it is of neither dialect.

    Cut at ``/`` first and decoded once after, as `parse_predict_path` does.

    Example:
        >>> read_path(b"/v1/models/census/versions/3:predict").version
        '3'
    """
    if not raw_path.startswith((b"/v1/models/", b"/v2", b"/api/v1/limits")):
        return None
    if raw_path == b"/api/v1/limits":
        return Asked("ml_v1", "limits", b"GET")
    parts = [unquote_to_bytes(part).decode("ascii", "replace") for part in raw_path.split(b"/")[1:]]
    if parts[0] == "v2":
        return _openinference(parts)
    return _tfserving(parts[2:]) if parts[0] == "v1" else None


def judge_path(asked: Asked, method: bytes, snapshot: Snapshot) -> PredictTarget | None:
    """Return which model or version must be asked; None when the routes alone can answer.

    Raises:
        WrongMethod: The path is asked with another method.
        NotFound: What stands for a model or a version can be none.
    """
    if method not in asked.methods:
        raise WrongMethod(method, asked)
    if asked.operation in _ANSWERED_HERE:
        return None
    return target_of(asked, snapshot)


def target_of(asked: Asked, snapshot: Snapshot) -> PredictTarget:
    """Return the model or version that a path means.

    Raises:
        NotFound: What stands there can be no model's or version's id.
    """
    if not is_id(asked.model):
        raise NotFound(f'The model resource: "{asked.model[:128]}" was not found.', field="name")
    model = model_name(snapshot.project, asked.model)
    if not asked.version:
        return PredictTarget(model, "")
    version = f"v{asked.version}" if asked.version.isdecimal() else asked.version
    if not is_id(version):
        raise NotFound(
            f'The version resource: "{asked.version[:128]}" was not found.', field="name"
        )
    return PredictTarget(model, version_name(snapshot.project, asked.model, version))


def answer_here(
    asked: Asked, snapshot: Snapshot, grant: Grant | None = None
) -> tuple[int, Mapping[str, Any]]:
    """Answer what the routes alone can, to a caller who may ask it.

    Args:
        asked: What is asked.
        snapshot: The routes.
        grant: What the caller's key grants; None: everything.

    Raises:
        NotFound: There is no such model or version.
    """
    if asked.operation == "limits":
        return 200, _limits(snapshot, grant)
    if not asked.model:
        if asked.operation == "server":
            extensions = ["binary_tensor_data"]
            return 200, {"name": "mlengine", "version": __version__, "extensions": extensions}
        return 200, {asked.operation: True}
    if asked.operation == "status":
        return 200, {"model_version_status": _states(target_of(asked, snapshot), snapshot)}
    try:
        find_version(target_of(asked, snapshot), snapshot)
    except NotFound:
        raise
    except EngineError:
        return 503, {"name": asked.model, "ready": False}
    return 200, {"name": asked.model, "ready": True}


def shown_version(asked: Asked, version: str) -> str:
    """Return how a dialect calls a version: TF Serving's clients want a number where there is one.

    Args:
        asked: What was asked.
        version: The full name.
    """
    id_ = version.rpartition("/")[2]
    numbered = asked.dialect == "tfserving" and id_[:1] == "v" and id_[1:].isdecimal()
    return id_[1:] if numbered else id_


def _limits(snapshot: Snapshot, grant: Grant | None) -> dict[str, Any]:
    limits = snapshot.limits
    own = {
        name: str(route.max_body_bytes)
        for name, route in snapshot.versions.items()
        if route.max_body_bytes and (grant is None or grant.covers(model_of(name)))
    }
    return {
        "maxPredictBytes": str(limits.max_body_bytes),
        "maxPredictBytesOfAnyVersion": str(MAX_PREDICT_BYTES),
        "maxPredictBytesOfVersions": own,
        "predictTimeoutSeconds": limits.predict_timeout_s,
        "maxHeaderBytes": limits.max_header_bytes,
        "maxHeaders": limits.max_headers,
        "headerTimeoutSeconds": limits.header_timeout_s,
        "bodyTimeoutSeconds": limits.body_timeout_s,
        "idleTimeoutSeconds": limits.idle_timeout_s,
    }


def _tfserving(parts: list[str]) -> Asked | None:
    last, colon, verb = parts[-1].rpartition(":")
    if colon:
        parts, operation, method = [*parts[:-1], last], verb, b"POST"
        if verb not in _VERBS:
            return None
    elif len(parts) in (2, 4) and parts[-1] == "metadata":
        parts, operation, method = parts[:-1], "metadata", b"GET"
    else:
        operation, method = "status", b"GET"
    if len(parts) == 1:
        return Asked("tfserving", operation, method, parts[0])
    if len(parts) == 3 and parts[1] in ("versions", "labels") and parts[2]:
        return Asked("tfserving", operation, method, parts[0], parts[2])
    return None


def _openinference(parts: list[str]) -> Asked | None:
    if operation := _SERVER.get(tuple(parts)):
        return Asked("openinference", operation, b"GET")
    if len(parts) < 3 or parts[1] != "models":
        return None
    model, rest = parts[2], parts[3:]
    version = ""
    if len(rest) >= 2 and rest[0] == "versions" and rest[1]:
        version, rest = rest[1], rest[2:]
    if not rest:
        return Asked("openinference", "metadata", b"GET", model, version)
    if rest == ["ready"]:
        return Asked("openinference", "ready", b"GET", model, version)
    if rest == ["infer"]:
        return Asked("openinference", "infer", b"POST", model, version)
    return None


def _states(target: PredictTarget, snapshot: Snapshot) -> list[dict[str, Any]]:
    if target.model not in snapshot.models:
        find_version(target, snapshot)  # says what to do
    prefix = f"{target.model}/versions/"
    names = [target.version] if target.version else sorted(
        name for name in snapshot.versions if name.startswith(prefix)
    )  # fmt: skip
    return [_state(name, target, snapshot) for name in names]


def _state(name: str, target: PredictTarget, snapshot: Snapshot) -> dict[str, Any]:
    route = snapshot.versions.get(name)
    if route is None:
        find_version(PredictTarget(target.model, name), snapshot)  # it raises
        raise NotFound(f'The version resource: "{name}" was not found.', field="name")
    failed = route.state == "FAILED"
    status = {"error_code": "UNKNOWN" if failed else "OK",
              "error_message": "see 'mlengine versions describe'" if failed else ""}  # fmt: skip
    asked = Asked("tfserving", "status", b"GET")
    state = _STATES.get(route.state, "END")
    return {"version": shown_version(asked, name), "state": state, "status": status}
