"""Where the figures of a run go: the log, a file, and a tuning service if one listens."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["report"]


def report(metrics: Mapping[str, float], *, job_dir: Path, step: int) -> None:
    """Print each metric on its own line and write ``<job_dir>/metrics.json``.

    When the environment names a ``CLOUD_ML_HP_METRIC_FILE``, the metric that the tuning job
    asks for (``accuracy``, unless its tag is another of ours) is written there as well, in
    the format of the ``cloudml-hypertune`` library.

    Args:
        metrics: Values on the evaluation rows, by name; ``accuracy`` is one of them.
        job_dir: An existing folder.
        step: How far the training went, in boosting iterations or epochs.
    """
    for name, value in metrics.items():
        print(f"{name} = {value:.4f}", flush=True)
    text = json.dumps(dict(metrics), indent=2, sort_keys=True)
    (job_dir / "metrics.json").write_text(text + "\n", encoding="utf-8")
    metric_file = os.environ.get("CLOUD_ML_HP_METRIC_FILE")
    if metric_file:
        _report_to_tuning(metrics, Path(metric_file), step=step)


def _report_to_tuning(metrics: Mapping[str, float], path: Path, *, step: int) -> None:
    tag = os.environ.get("CLOUD_ML_HP_METRIC_TAG") or "training/hptuning/metric"
    record = {
        "checkpoint_path": "",
        "global_step": str(step),
        tag: str(metrics.get(tag, metrics["accuracy"])),
        "timestamp": time.time(),
        "trial": os.environ.get("CLOUD_ML_TRIAL_ID", "0"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, sort_keys=True) + "\n", encoding="utf-8")
