"""What people are told of the gateway's counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlengine.core.names import last_id
from mlengine.core.traffic import ModelStats, VersionStats
from mlengine.prediction.gateway.counts import quantile_s

__all__ = ["stats_of"]


def stats_of(model: str, counted: Mapping[str, Mapping[str, Any]]) -> ModelStats:
    """Return the counts of a model's versions.

    Args:
        model: Its full name.
        counted: What `GatewayControl.stats` says.
    """
    versions = [
        _version(last_id(name), of)
        for name, of in sorted(counted.items())
        if name.startswith(f"{model}/versions/")
    ]
    return ModelStats(name=model, versions=versions)


def _version(version_id: str, of: Mapping[str, Any]) -> VersionStats:
    answered = sum(of["buckets"])
    return VersionStats(
        version=version_id,
        workers=of["workers"],
        requests=of["requests"],
        answers=of["statuses"],
        in_flight=of["load"],
        held=of["held"],
        p50_ms=_ms(quantile_s(of["buckets"], 0.5)),
        p99_ms=_ms(quantile_s(of["buckets"], 0.99)),
        logged=of.get("logged", 0),
        log_dropped=of.get("log_dropped", 0),
        mean_ms=_ms(of["total_s"] / answered) if answered else None,
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
