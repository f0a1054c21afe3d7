"""A chief without company does what a process without a cluster does: it evaluates and exports.

On the service TensorFlow 2 got a cluster of one `chief` for a job of one replica. An Estimator
takes such a chief for a part of a real cluster, where somebody else evaluates: `train_and_evaluate`
would only train, and end well without a model. A strategy over several workers wants the cluster,
so it stays, and the Estimator is told what it means.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

__all__ = ["complete", "is_alone"]


def complete(module: ModuleType) -> None:
    """Have `train_and_evaluate` of a lone chief run as without a cluster."""
    executor: Any = getattr(module, "_TrainingExecutor", None)
    if executor is None:
        return
    run = executor.run

    @functools.wraps(run)
    def run_alone_or_not(self: Any) -> Any:
        config = self._estimator.config
        if is_alone(config.task_type, config.cluster_spec.as_dict()):
            return self.run_local()
        return run(self)

    executor.run = run_alone_or_not


def is_alone(task_type: str, cluster: dict[str, Any]) -> bool:
    """Say whether a task is the chief of nobody.

    Example:
        >>> is_alone("chief", {"chief": ["127.0.0.1:2222"]})
        True
    """
    return task_type == "chief" and list(cluster) == ["chief"] and len(cluster["chief"]) == 1
