"""What every field of a training job does, on every backend: one table, for code and pages.

`checks` refuses by it, `docs/fields.md` is written from it, and a test holds it against the
resource types, so that a field is never silently ignored. A backend is a way to run a job:
``local`` is `mlengine local train`, ``process`` the engine's launcher on its own machine, ``ray``
its launcher on a cluster. Both launchers are asked by the same checks, so what one refuses, the
other does; where an honoured field means something else on a cluster, its rule says what.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["BACKENDS", "FIELDS", "Rule", "Treatment", "refused"]

BACKENDS = ("local", "process", "ray")


class Treatment(enum.StrEnum):
    """What becomes of a field."""

    HONOURED = "honoured"
    RECORDED = "recorded"
    """Kept and shown, without an effect: there is nothing here that it could change."""
    REFUSED = "refused"


class Rule(NamedTuple):
    """How one field is treated.

    Attributes:
        process: What becomes of it in a job.
        note: What it does; for a refused field what to do instead.
        local: What `mlengine local train` makes of it: a flag's name, or nothing.
        on_ray: What is different on a cluster; empty for nothing.
    """

    process: Treatment
    note: str
    local: str = ""
    on_ray: str = ""

    @property
    def ray(self) -> str:
        """What becomes of it in a job on a cluster."""
        return f"{self.process}; {self.on_ray}" if self.on_ray else str(self.process)


_H, _R, _X = Treatment.HONOURED, Treatment.RECORDED, Treatment.REFUSED

FIELDS: Mapping[str, Mapping[str, Rule]] = {
    "TrainingInput": {
        "scale_tier": Rule(_H, "how many replicas, on which machine types", "`--distributed`"),
        "master_type": Rule(
            _H,
            "the master's CPUs, memory, GPUs and price",
            on_ray="reserved there; CPUs and memory shrink until the job fits",
        ),
        "master_config": Rule(_H, "see ReplicaConfig"),
        "worker_type": Rule(_H, "as masterType"),
        "worker_config": Rule(_H, "see ReplicaConfig"),
        "worker_count": Rule(_H, "how many workers", "`--worker-count`"),
        "parameter_server_type": Rule(_H, "as masterType"),
        "parameter_server_config": Rule(_H, "see ReplicaConfig"),
        "parameter_server_count": Rule(
            _H, "how many parameter servers", "`--parameter-server-count`"
        ),
        "evaluator_type": Rule(_H, "as masterType"),
        "evaluator_config": Rule(_H, "see ReplicaConfig"),
        "evaluator_count": Rule(
            _H, "how many evaluators; never part of the cluster", "`--evaluator-count`"
        ),
        "package_uris": Rule(_H, "installed, in this order, over the runtime", "`--package-path`"),
        "python_module": Rule(_H, "run as `python -m`", "`--module-name`"),
        "args": Rule(_H, "passed on in order; gs:// of a folder becomes its path", "after `--`"),
        "hyperparameters": Rule(_H, "makes it a tuning job; see HyperparameterSpec"),
        "region": Rule(
            _R, "there is one place, the engine's machine or its cluster; shown to trainers"
        ),
        "job_dir": Rule(_H, "passed as `--job-dir`, made if missing", "`--job-dir`"),
        "runtime_version": Rule(
            _H,
            "the libraries; the nearest that can run it, with a warning",
            on_ray="a node that does not see the engine's home needs its Python",
        ),
        "python_version": Rule(_H, "checked against the runtime's, with a warning"),
        "encryption_config": Rule(
            _X, "Customer-managed keys are not supported; encrypt the machines' disks."
        ),
        "scheduling": Rule(_H, "see Scheduling"),
        "network": Rule(
            _X, "Replicas use the network of the machine that they run on; leave it out."
        ),
        "service_account": Rule(
            _X, "Jobs run as the engine's own user, on a cluster as Ray's; leave it out."
        ),
        "use_chief_in_tf_config": Rule(
            _H, "`chief` instead of `master` in TF_CONFIG, whatever the runtime"
        ),
        "enable_web_access": Rule(_X, "Interactive shells are not supported; leave it out."),
    },
    "HyperparameterSpec": {
        "goal": Rule(_H, "MAXIMIZE if not set"),
        "params": Rule(_H, "each becomes `--NAME=VALUE`, behind the args; see ParameterSpec"),
        "max_trials": Rule(_H, "exactly so many trials are tried; 1 if not set"),
        "max_parallel_trials": Rule(_H, "most trials at one time; 1 if not set"),
        "max_failed_trials": Rule(
            _H,
            "so many failed trials fail the job; if not set, the first three (or as many as run at "
            "one time) without a success",
        ),
        "hyperparameter_metric_tag": Rule(_H, "the objective; `training/hptuning/metric`"),
        "enable_trial_early_stopping": Rule(
            _H, "stops trials by the median rule, or that of `options`"
        ),
        "resume_previous_job_id": Rule(_H, "goes on with the study of a tuning job that is over"),
        "algorithm": Rule(
            _H,
            "Bayesian if not set; GRID_SEARCH, RANDOM_SEARCH, and this engine's own "
            "QUASI_RANDOM_SEARCH, `optuna:SAMPLER` and `vizier:DESIGNER`",
        ),
    },
    "ParameterSpec": {
        "parameter_name": Rule(_H, "verbatim the name of the flag"),
        "type": Rule(_H, "DOUBLE, INTEGER, CATEGORICAL, DISCRETE"),
        "min_value": Rule(_H, "of DOUBLE and INTEGER, inclusive"),
        "max_value": Rule(_H, "likewise"),
        "categorical_values": Rule(_H, "of CATEGORICAL"),
        "discrete_values": Rule(_H, "of DISCRETE, in increasing order"),
        "scale_type": Rule(_H, "how a range is spread; log scales need values above 0"),
    },
    "ReplicaConfig": {
        "accelerator_config": Rule(_H, "GPUs of each replica of the role, its own alone"),
        "image_uri": Rule(_X, "Custom containers are not supported; submit a Python package."),
        "container_command": Rule(
            _X, "Custom containers are not supported; submit a Python package."
        ),
        "container_args": Rule(_X, "Custom containers are not supported; submit a Python package."),
        "disk_config": Rule(
            _X, "Replicas use the disk of the machine that they run on; leave it out."
        ),
        "tpu_tf_version": Rule(_X, "There are no TPUs here; leave it out."),
    },
    "Scheduling": {
        "max_running_time": Rule(_H, "the job is cancelled after it; a week if not set"),
        "max_wait_time": Rule(_H, "a job that has not started by then is cancelled"),
        "priority": Rule(_H, "0 to 1000; higher goes first, then the older"),
    },
    "JobOptions": {
        "strict_runtime": Rule(_H, "an unknown runtimeVersion is refused, not mapped"),
        "strict_resources": Rule(
            _H,
            "the job waits for, and is held to, what it asks for",
            on_ray="refused if the cluster is too small",
        ),
        "legacy_keras": Rule(_H, "`tf.keras` is Keras 2 on runtime 2.21"),
        "max_retries": Rule(_H, "how often the whole job starts again after a passing failure"),
        "trial_early_stopping": Rule(
            _H, "trials are stopped by `median`, `decay-curve` or `asha`; on without the switch"
        ),
        "allow": Rule(_H, "findings that may not fail the job"),
    },
}


def refused(owner: str) -> dict[str, str]:
    """Return the refused fields of a message, and what to do instead.

    Example:
        >>> sorted(refused("ReplicaConfig"))[0]
        'container_args'
    """
    rules = FIELDS[owner].items()
    return {name: rule.note for name, rule in rules if rule.process is Treatment.REFUSED}
