"""What ``GET /metrics`` of the gateway says, in the text format of Prometheus.

One address for the gateway and all workers: what a worker counts is asked over the connection that
its predictions take. One that does not answer at once, because its model is busy, is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlengine.prediction.gateway.counts import BOUNDS_S
from mlengine.prediction.gateway.hearsay import WorkerCounts

__all__ = ["CONTENT_TYPE", "render"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[str, Mapping[str, object], float]


def render(
    gateway: Mapping[str, float], refused: Mapping[int, int],
    versions: Mapping[str, Mapping[str, Any]], workers: Mapping[tuple[str, str], WorkerCounts],
    *, quotas: Mapping[str, int],
) -> str:  # fmt: skip
    """Write everything down.

    Args:
        gateway: Values of the gateway itself, by name.
        refused: HTTP status → requests that were answered by the gateway without a version.
        versions: What `Switchboard.stats` says.
        workers: Version and worker → what it says of itself.
        quotas: Key → predictions that its quota refused.
    """
    lines: list[str] = []
    for name, value in gateway.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += _family(f"mlengine_gateway_{name}", kind, [("", {}, value)])
    lines += _family(
        "mlengine_gateway_refused_total", "counter",
        [("", {"code": code}, count) for code, count in refused.items()],
    )  # fmt: skip
    refusals = [("", {"key": key}, float(count)) for key, count in quotas.items()]
    lines += _family("mlengine_quota_refused_total", "counter", refusals)
    lines += _family("mlengine_predictions_total", "counter", _statuses(versions))
    lines += _family("mlengine_prediction_seconds", "histogram", _latencies(versions))
    for key, name in (("load", "mlengine_predictions_in_flight"),
                      ("held", "mlengine_predictions_held")):  # fmt: skip
        samples = [("", {"version": version}, of[key]) for version, of in versions.items()]
        lines += _family(name, "gauge", samples)
    for key, name in (("at_desk", "mlengine_predictions_at_desk_total"),
                      ("wakes", "mlengine_version_wakes_total"),
                      ("failed_wakes", "mlengine_version_failed_wakes_total")):  # fmt: skip
        samples = [("", {"version": version}, of[key]) for version, of in versions.items()]
        lines += _family(name, "counter", samples)
    for key, name in (("logged", "mlengine_request_log_rows_total"),
                      ("log_dropped", "mlengine_request_log_dropped_total")):  # fmt: skip
        samples = [("", {"version": v}, of[key]) for v, of in versions.items() if key in of]
        lines += _family(name, "counter", samples)
    lines += _family("mlengine_worker_batch_requests", "histogram", _batches(workers))
    waiting = [("", _worker(*who), float(said.waiting)) for who, said in workers.items()]
    lines += _family("mlengine_worker_waiting", "gauge", waiting)
    return "\n".join(lines) + "\n"


def _family(name: str, kind: str, samples: Iterable[_Sample]) -> list[str]:
    return [f"# TYPE {name} {kind}"] + [
        f"{name}{ending}{_labels(labels)} {value:.12g}" for ending, labels, value in samples
    ]


def _labels(labels: Mapping[str, object]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _worker(version: str, worker: str) -> dict[str, object]:
    return {"version": version, "worker": worker}


def _statuses(versions: Mapping[str, Mapping[str, Any]]) -> Iterator[_Sample]:
    for version, of in versions.items():
        for code, count in of["statuses"].items():
            yield "", {"version": version, "code": code}, count


def _latencies(versions: Mapping[str, Mapping[str, Any]]) -> Iterator[_Sample]:
    for version, of in versions.items():
        yield from _histogram({"version": version}, BOUNDS_S, of["buckets"], of["total_s"])


def _batches(workers: Mapping[tuple[str, str], WorkerCounts]) -> Iterator[_Sample]:
    for who, said in workers.items():
        calls = said.calls
        bounds = [float(1 << power) for power in range(len(calls) - 1)]
        yield from _histogram(_worker(*who), bounds, calls, float(said.requests))


def _histogram(
    labels: Mapping[str, object], bounds: Iterable[float], counts: Iterable[int], total: float
) -> Iterator[_Sample]:
    seen = 0
    for bound, count in zip((*bounds, "+Inf"), counts, strict=True):
        seen += count
        shown = bound if isinstance(bound, str) else f"{bound:g}"
        yield "_bucket", {**labels, "le": shown}, seen
    yield "_sum", labels, total
    yield "_count", labels, seen
