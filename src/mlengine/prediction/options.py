"""What settings and records ask of serving: of all versions, and of one.

Pure: `serving` makes it true.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlengine.core.names import version_name
from mlengine.core.resources import Version, VersionOptions
from mlengine.models.explanations import explanation_of
from mlengine.models.surroundings import request_of, wanted
from mlengine.prediction.gateway.doors import Doors
from mlengine.prediction.routing import Limits, Logging
from mlengine.prediction.scaling.fields import bounds_of, node_gpus, threads_of
from mlengine.prediction.scaling.fleet import NodeSpec
from mlengine.prediction.scaling.scaler import Served
from mlengine.store import VersionRecord

__all__ = ["ServingOptions", "served_as"]


class ServingOptions(NamedTuple):
    """What an engine's settings say about predictions.

    Attributes:
        home: The engine's home folder.
        host: Address that the gateway listens on.
        port: Its port; 0 takes any free one.
        allowed_hosts: Further host names that requests may be addressed to.
        open_paths: Path → the one method for which no token is needed.
        limits: What one caller may take.
        load_timeout_s: Longest that loading a version may take, in seconds.
        doors: How callers come in, besides plain HTTP.
        project: Whose models the URLs of dialects mean that know no projects.
        idle_after_s: A version that may sleep does so after so long without a prediction.
        memory_bytes: Most that all workers may hold.
        cpus: Of this machine.
        gpus: Ids of its GPUs that versions may have.
        may_stay_awake: Whether gateway and workers may use CPU time to be prompt.
        warm_workers: Frameworks kept imported, for workers to be forked from.
        warm_idle_s: Without a new worker for so long, such an interpreter ends.
        logging: Where predictions leave what is kept of them.
    """

    home: Path
    host: str
    port: int
    allowed_hosts: list[str]
    open_paths: dict[str, str]
    limits: Limits
    load_timeout_s: float
    doors: Doors = Doors()
    project: str = "default"
    idle_after_s: float = 900.0
    memory_bytes: int = 4 << 30
    cpus: float = 1.0
    gpus: tuple[str, ...] = ()
    may_stay_awake: bool = False
    warm_workers: int = 3
    warm_idle_s: float = 14_400.0
    logging: Logging = Logging()


def served_as(
    record: VersionRecord, artifact: Path, packages: Sequence[Path], options: ServingOptions
) -> Served:
    """Return how a version is to be served: what its workers load, how many there may be.

    Args:
        record: Its record.
        artifact: Folder of what was deployed.
        packages: Files of the packages that go with it.
        options: What the engine's settings say.
    """
    version, asked = record.version, record.version.options or VersionOptions()
    wants = wanted(version, artifact, packages)
    return Served(
        NodeSpec(
            uid=record.uid,
            version=version_name(record.project, record.model_id, record.version_id),
            artifact=artifact,
            framework=version.framework,
            artifact_uri=version.deployment_uri,
            max_body_bytes=asked.max_predict_bytes,
            threads=threads_of(version, cpus=options.cpus),
            max_batch_size=asked.max_batch_size,
            batch_deadline_ms=asked.batch_deadline_ms,
            wants=wants,
            package_uris=tuple(version.package_uris),
            request=request_of(version) if wants is not None else "",
            memory_bytes=asked.memory_bytes or options.memory_bytes,
            network=asked.network,
            gpus=node_gpus(version),
            explanation=_explanation(version, options),
            library=version.details.library_version if version.details is not None else "",
        ),
        bounds_of(version, cpus=options.cpus, idle_after_s=options.idle_after_s),
    )


def _explanation(version: Version, options: ServingOptions) -> dict[str, Any]:
    found = explanation_of(version)
    # The worker says so before the gateway takes it for one that hangs.
    timeout_s = 0.9 * options.limits.predict_timeout_s
    return {**found, "timeout_s": timeout_s} if found else {}
