"""What the gateway knows: one immutable snapshot, made by the engine, replaced as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from mlengine.core.limits import DEFAULT_PREDICT_BYTES
from mlengine.core.names import (
    is_id,
    is_project,
    last_id,
    model_name,
    parse_version,
    project_flag,
    version_name,
)

__all__ = [
    "Grant",
    "Limits",
    "Logging",
    "PredictTarget",
    "Route",
    "Snapshot",
    "Traffic",
    "asks_explanation",
    "body_limit",
    "decode_snapshot",
    "encode_snapshot",
    "find_version",
    "not_ready",
    "parse_predict_path",
    "read_snapshot",
]

_SERVING_STATES = frozenset({"READY", "UPDATING"})
_VERBS = ("predict", "explain")


class Route(msgspec.Struct, frozen=True):
    """Where one version is served.

    Attributes:
        state: The version's state.
        sockets: One Unix socket for each of its workers.
        wakes: Whether a version without workers gets one when it is asked.
        max_body_bytes: Longest body of a prediction; 0 is the limit of all.
        log_table: ``PROJECT.DATASET.TABLE`` that keeps its predictions; empty: none.
        log_share: The share of them that is kept.
        desk: Folder of the version's form in plain numbers, of which the gateway may answer by
            itself; empty: there is none, or its predictions are to be batched.
    """

    state: str
    sockets: list[str] = []
    wakes: bool = False
    max_body_bytes: int = 0
    log_table: str = ""
    log_share: float = 0.0
    desk: str = ""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """How the predictions that name a model and no version are shared among its versions.

    Attributes:
        weights: Full version name → its parts of the whole; the whole is their sum. Empty: the
            default version answers all.
        segments: Where each version's part of the numbers below 2**32 ends, in order; empty: cut
            by the weights, see `traffic.reapportion`.
        period: Counts the changes; what is counted, is counted of a period.
        sticky_by: ``header:NAME`` or ``field:NAME`` (of the body): equal values always reach the
            same version. Empty: each prediction is drawn by itself.
        salt: Mixed into the draw, so that two experiments do not share their halves.
        shadow: Full names of versions that get a copy of each prediction, and answer nobody.
    """

    weights: dict[str, int] = {}
    segments: list[tuple[int, str]] = []
    period: int = 0
    sticky_by: str = ""
    salt: str = ""
    shadow: list[str] = []


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What the bearer of one key may predict, and how much; all that is not granted is refused.

    Attributes:
        key: The key's public id, which counts and log lines may name.
        projects: Projects all of whose models it may ask.
        models: Full names of further models that it may ask.
        metrics: Whether it may read `/metrics`, which tells of the models of all projects.
        requests_per_second: Most predictions in the long run; 0 is no limit.
        burst: Most predictions at once above that rate; 0 is one second's worth, at least 1.
        daily_quota: Most predictions of one UTC day; 0 is no limit.
        expires: Unix seconds from which on it counts no more; 0 is never.
    """

    key: str
    projects: list[str] = []
    models: list[str] = []
    metrics: bool = False
    requests_per_second: float = 0.0
    burst: int = 0
    daily_quota: int = 0
    expires: float = 0.0

    def covers(self, model: str) -> bool:
        """Tell whether its bearer may ask a model, given by its full name."""
        return model in self.models or model.split("/", 2)[1] in self.projects


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller may take of the gateway.

    Attributes:
        max_body_bytes: Longest body of a prediction.
        predict_timeout_s: Longest that a worker may take for one prediction.
        header_timeout_s: From a request's first byte to the end of its head.
        body_timeout_s: A body must be complete, or have grown by 64 KiB, each time this passes.
        idle_timeout_s: Longest silence between two requests on one connection.
        worker_wait_s: How long a prediction waits for a worker that is being restarted.
        max_header_bytes: Longest head of a request.
        max_headers: Most header lines of a request.
        max_connections: Connections served at one time; more are shed with 503. 0: 4096, or as
            many as the process's file descriptors allow.
    """

    max_body_bytes: int = DEFAULT_PREDICT_BYTES
    predict_timeout_s: float = 60.0
    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 75.0
    worker_wait_s: float = 2.0
    max_header_bytes: int = 32_768
    max_headers: int = 100
    max_connections: int = 0


class Logging(msgspec.Struct, frozen=True, kw_only=True):
    """Where predictions leave what is kept of them.

    Attributes:
        tables: Folder of the tables; empty: nothing is kept.
        access: Folder of the access logs.
        part_bytes: A file of rows that has so many is closed, and another begun.
        part_s: So is one that is so old.
    """

    tables: str = ""
    access: str = ""
    part_bytes: int = 64 << 20
    part_s: float = 3600.0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the gateway decides by.

    Attributes:
        generation: Grows with each snapshot of one engine; only shown.
        token_digest: `core.access.token_digest` of the engine's own token, which may do all; with
            an empty one only keys open.
        grants: `core.access.token_digest` of a key → what its bearer may do. Every key that counts
            stands here, also one that may predict nothing: what is no prediction is the engine's
            to decide, but a bearer whom nobody knows does not get so far.
        allowed_hosts: Names that requests may be addressed to besides the loopback ones.
        open_paths: Raw path → the one method for which it needs no token.
        project: Whose models the URLs of dialects mean that know no projects.
        engine_socket: Unix socket that everything but predictions is relayed to.
        versions: Full version name → route.
        models: Full model name → full name of its default version, or empty.
        traffic: Full model name → how its predictions are shared, where not all go to the default.
        access_logs: Full names of the models that write a line for each prediction.
        may_stay_awake: Whether gateway and workers may look for each other's next word without
            sleeping (`vigil`): there are CPUs for it.
    """

    generation: int = 0
    token_digest: str = ""
    grants: dict[str, Grant] = {}
    allowed_hosts: list[str] = []
    open_paths: dict[str, str] = {}
    project: str = "default"
    engine_socket: str = ""
    versions: dict[str, Route] = {}
    models: dict[str, str] = {}
    traffic: dict[str, Traffic] = {}
    access_logs: list[str] = []
    may_stay_awake: bool = False
    logging: Logging = msgspec.field(default_factory=Logging)
    limits: Limits = msgspec.field(default_factory=Limits)


class PredictTarget(NamedTuple):
    """What a predict URL names; `version` is the full name, or empty for the default version."""

    model: str
    version: str


_decoder = msgspec.json.Decoder(Snapshot)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Write a snapshot as one line of JSON."""
    return msgspec.json.encode(snapshot)


def decode_snapshot(data: bytes | msgspec.Raw) -> Snapshot:
    """Read a snapshot.

    Raises:
        InvalidArgument: It is not one.
    """
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"This is no routing snapshot: {error}.") from None


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot from a file; without the file, one that refuses everybody."""
    try:
        return decode_snapshot(path.read_bytes())
    except FileNotFoundError:
        return Snapshot()


def parse_predict_path(raw_path: bytes) -> PredictTarget | None:
    """Tell which model or version a URL path asks; None when it asks for no prediction.

    To explain one is to predict, as far as it matters whose it is and who may: see
    `asks_explanation`.

    Cut at ``/`` first and decoded once after, so that an encoded slash never makes a segment.
    Whatever is not exactly such a path is left to the engine's router.

    Example:
        >>> parse_predict_path(b"/v1/projects/p/models/m/versions/v1%3Apredict").version
        'projects/p/models/m/versions/v1'
    """
    head, *parts = raw_path.split(b"/")
    if head or len(parts) not in (5, 7):
        return None
    texts = [unquote_to_bytes(part).decode("ascii", "replace") for part in parts]
    last, colon, verb = texts[-1].rpartition(":")
    if not colon or verb not in _VERBS or texts[:4] != ["v1", "projects", texts[2], "models"]:
        return None
    texts[-1] = last
    ids = texts[4::2]
    if not is_project(texts[2]) or not all(map(is_id, ids)):
        return None
    if len(texts) == 5:
        return PredictTarget(model_name(texts[2], ids[0]), "")
    if texts[5] != "versions":
        return None
    return PredictTarget(model_name(texts[2], ids[0]), version_name(texts[2], ids[0], ids[1]))


def asks_explanation(raw_path: bytes) -> bool:
    """Tell whether a path that `parse_predict_path` knows wants its prediction explained."""
    return unquote_to_bytes(raw_path).endswith(b":explain")


def body_limit(target: PredictTarget, snapshot: Snapshot) -> int:
    """Return the longest body that a prediction may have; that of the most generous version."""
    common = snapshot.limits.max_body_bytes
    names = [target.version or snapshot.models.get(target.model, "")]
    if not target.version and (traffic := snapshot.traffic.get(target.model)):
        names += traffic.weights
    routes = [snapshot.versions[name] for name in names if name in snapshot.versions]
    return max((route.max_body_bytes or common for route in routes), default=common)


def find_version(target: PredictTarget, snapshot: Snapshot) -> tuple[str, Route]:
    """Return the full name and the route of the version that answers.

    Raises:
        NotFound: There is no such model or version.
        FailedPrecondition: The model has no default version, or the version is not READY.
    """
    default = snapshot.models.get(target.model)
    if default is None:
        model_id = last_id(target.model)
        raise NotFound(
            f'The model resource: "{model_id}" was not found.',
            "Please create the model resource first by using "
            f"'mlengine models create {model_id}{project_flag(target.model)}'.",
            field="name",
        )
    name = target.version or default
    if not name:
        raise FailedPrecondition(
            f'The model resource: "{target.model}" has no default version.',
            "Create a version, or name one in the URL.",
            field="name",
        )
    route = snapshot.versions.get(name)
    if route is None:
        raise NotFound(
            f'The version resource: "{name}" was not found.',
            f"List those that exist with 'mlengine versions list --model {last_id(target.model)}'.",
            field="name",
        )
    if route.state not in _SERVING_STATES or not (route.sockets or route.wakes):
        raise not_ready(name, route.state)
    return name, route


def not_ready(name: str, state: str) -> FailedPrecondition:
    """Return why the version of this full name, in this state, answers nobody."""
    # Nothing ever makes a FAILED one READY.
    see = "See" if state == "FAILED" else "Wait until it is READY, or see"
    version = parse_version(name, field="name")
    return FailedPrecondition(
        f'The version resource: "{name}" is {state or "not served"}, not READY.',
        f"{see} its errorMessage in "
        f"'mlengine versions describe {version.version_id} --model {version.model_id}'.",
        field="name",
    )
