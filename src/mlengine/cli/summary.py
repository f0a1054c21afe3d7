"""`jobs describe --summarize`: a job as boxed tables for people."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from mlengine.cli.output import parse_format, render
from mlengine.cli.output.escape import printable
from mlengine.cli.output.tables import boxed_table
from mlengine.cli.trials import reasons

__all__ = ["summary"]

_OVERVIEW = ("jobId", "createTime", "startTime", "endTime", "state")
_TRAINING_INPUT = (
    "runtimeVersion", "region", "scaleTier", "pythonModule", "parameterServerType",
    "parameterServerCount", "masterType", "workerType", "workerCount", "jobDir",
)  # fmt: skip
_REMAINING = ("remainingSeconds", "remainingUsd")
_PREDICTION_INPUT = (
    "runtimeVersion", "region", "model", "versionName", "outputPath", "uri", "dataFormat",
    "batchSize",
)  # fmt: skip
_PREDICTION_OUTPUT = ("errorCount", "nodeHours", "outputPath", "predictionCount")


def summary(job: Mapping[str, Any]) -> str:
    """Write a job, as JSON has it, as tables; a table without a value is left out."""
    tables = [_table("Job Overview", job, _OVERVIEW)]
    if training := job.get("trainingInput"):
        tables.append(_table("Training Input Summary", training, _TRAINING_INPUT))
        tables.append(_replicas(training))
    if output := job.get("trainingOutput"):
        tables += _training_output(output)
    if details := job.get("details"):
        tables.append(_table("Remaining (estimate)", details, _REMAINING))
    if prediction := job.get("predictionInput"):
        named = {**prediction, "model": prediction.get("modelName", "").rpartition("/")[2]}
        tables.append(_table("Predict Input Summary", named, _PREDICTION_INPUT))
    if output := job.get("predictionOutput"):
        tables.append(_table("Predict Output Summary", output, _PREDICTION_OUTPUT))
    return "".join(tables)


def _table(title: str, values: Mapping[str, Any], fields: Sequence[str]) -> str:
    present = [name for name in fields if values.get(name) not in (None, "")]
    if not present:
        return ""
    text = f'table[box,title="{title}"]({",".join(present)})'
    return render(parse_format(text), [values], single=True)


def _replicas(training: Mapping[str, Any]) -> str:
    """Draw who runs, one row a role, unless the master is alone."""
    from mlengine.core.errors import EngineError
    from mlengine.core.resources import TrainingInput
    from mlengine.core.wire import decode
    from mlengine.training.plan import plan_replicas

    try:
        plan = plan_replicas(decode(TrainingInput, training, at="training_input"))
    except EngineError:  # the engine is newer than this client
        return ""
    if plan.replicas == 1:
        return ""
    headings = ["ROLE", "COUNT", "MACHINE_TYPE", "CPUS", "MEMORY_GIB", "GPUS", "USD_PER_HOUR"]
    rows = [
        [
            [role.role], [str(role.count)], [role.machine.name], [str(role.machine.cpus)],
            [f"{role.machine.memory_bytes / (1 << 30):g}"],
            [f"{role.gpus} {role.gpu_type}" if role.gpus else "0"],
            [f"{role.usd_per_hour:.2f}"],
        ]
        for role in plan.roles
    ]  # fmt: skip
    return boxed_table("Replicas", headings, rows)


def _training_output(output: Mapping[str, Any]) -> list[str]:
    trials = output.get("trials") or []
    row = [[[str(output.get("completedTrialCount", len(trials)))]]]
    row[0].append([f"{float(output.get('consumedMLUnits', 0)):.2f}"])
    tables = [boxed_table("Training Output Summary", ["TRIALS", "ML_UNITS"], row)]
    if trials:
        headings = ["TRIAL", "OBJECTIVE_VALUE", "STEP", "HYPERPARAMETERS"]
        rows = [_trial(trial) for trial in sorted(trials, key=_number)]
        tables.append(boxed_table("Training Output Trials", headings, rows))
    if lost := reasons(trials):
        rows = [
            [[r.numbers], [r.state], textwrap.wrap(printable(r.text), 72) or [""]] for r in lost
        ]
        tables.append(boxed_table("Trials Without Success", ["TRIALS", "STATE", "REASON"], rows))
    return tables


def _number(trial: Mapping[str, Any]) -> int:
    """Trials are listed by number here, as gcloud did; `jobs trials` has the best first."""
    text = str(trial.get("trialId", ""))
    return int(text) if text.isdecimal() else 0


def _trial(trial: Mapping[str, Any]) -> list[list[str]]:
    final = trial.get("finalMetric") or {}
    parameters = trial.get("hyperparameters") or {}
    return [
        [printable(str(trial.get("trialId", "")))],
        [str(final.get("objectiveValue", ""))],
        [str(final.get("trainingStep", ""))],
        [printable(f"{k}: {v}", newline="\\n") for k, v in sorted(parameters.items())] or [""],
    ]
