"""`report`: one line with which a trainer tells its tuning job how it does.

    import mlengine.runtime

    mlengine.runtime.report("accuracy", 0.93, step=1000)

Python >= 3.7 and its standard library; it prints nothing and never ends a training. The line goes
to the file that ``CLOUD_ML_HP_METRIC_FILE`` names, in the words of cloudml-hypertune, so a trainer
may use either, or both. In a process that no job has started there is no such file, and nothing is
written.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

__all__ = ["report"]

_DEFAULT_TAG = "training/hptuning/metric"


def report(metric: str, value: float, step: int = 0) -> bool:
    """Tell the value of a metric; the tuning job counts that of the highest step, or the last.

    Args:
        metric: Its tag, as in `hyperparameterMetricTag`; empty means the tag the job asks for.
        value: Any number; NaN and infinity count as not reported.
        step: How far the training is; reports of one step replace each other. A trainer that never
            tells one has its reports counted, from 0.

    Returns:
        Whether it was written: not outside of a job, nor on a full disk.
    """
    path = os.environ.get("CLOUD_ML_HP_METRIC_FILE", "")
    if not path:
        return False
    tag = metric or os.environ.get("CLOUD_ML_HP_METRIC_TAG") or _DEFAULT_TAG
    line = {
        "timestamp": time.time(),
        "trial": os.environ.get("CLOUD_ML_TRIAL_ID", "0"),
        "global_step": str(int(step)),
        "checkpoint_path": "",
        tag: str(float(value)),
    }
    data = json.dumps(line, sort_keys=True).encode("ascii") + b"\n"
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            # One write with O_APPEND: lines of several processes never mix.
            return os.write(descriptor, data) == len(data)
        finally:
            os.close(descriptor)
    except OSError:
        return False
