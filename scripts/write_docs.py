"""Writes the pages that are read off the code: API, fields, runtimes and settings in `docs/`.

Run after a change of the route table, of a field's treatment or of a setting; `make check` fails
until it was run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from mlengine.cli.commands.config import OF_COMMANDS
from mlengine.core.undocumented import UNDOCUMENTED
from mlengine.engine.settings import PROPERTIES, describe, variables
from mlengine.environments.catalogue import read_catalogue
from mlengine.models.checks import REFUSED_VERSION_FIELDS
from mlengine.prediction.batch import REFUSED_OPTIONS
from mlengine.rest.ml_v1 import METHODS
from mlengine.rest.own import ROUTES as OWN_ROUTES
from mlengine.training.fields import BACKENDS, FIELDS

DOCS = Path(__file__).resolve().parent.parent / "docs"
_NOTE = "<!-- Written by scripts/write_docs.py; change the code it is read off instead. -->\n\n"

# What a field that is accepted does here, where that is less than its name promises.
_RECORDED = {
    "PredictionInput": {
        "region": "recorded; there is one place, where the engine is",
        "runtimeVersion": "recorded; the job runs in its version's own runtime, or on the engine's "
        "interpreter; a warning says so if that is another one",
        "maxWorkerCount": "an upper limit: one worker is used",
    },
    "Version": {
        "runtimeVersion": "the worker's libraries; the engine's own where they serve as well",
        "pythonVersion": "compared with what serves the version; its log says if it differs",
        "autoScaling.minNodes": "0 lets an `mls1-…` machine sleep; on others it is 1, and a patch to 0 "
        "is refused",
        "machineType": "its CPUs bound the threads of one call, `mls1-…` may sleep; its memory is "
        "no limit, see [scaling](scaling.md)",
    },
    "Model": {
        "regions": "recorded; at most one",
        "onlinePredictionConsoleLogging": "recorded; what workers print is always in "
        "`logs/worker-*.log` of the engine's home",
    },
    "Location": {
        "capabilities": "without `availableAccelerators`: what a GPU is called is not known"
    },
    "GetConfigResponse": {
        "serviceAccountProject": "only of a project that is called by its number",
        "config": "left out: there are no TPUs",
    },
}
_REFUSED = {
    "Version": REFUSED_VERSION_FIELDS,
    "Job.options": REFUSED_OPTIONS,
}


def api_page() -> str:
    """Return `docs/api.md`."""
    lines = [
        "# The REST API", "",
        "One URL serves everything. Send `Authorization: Bearer TOKEN` with each request "
        "(`mlengine auth print-access-token`, or a [key](access.md)); errors are Google's error object. "
        "`GET /$discovery/rest?version=v1` is the discovery document, `GET /api/v1/openapi.json` the "
        "OpenAPI document.", "",
        "## `ml.googleapis.com/v1`", "",
        "A key needs the permission of the method over the model, job or operation that the path names, "
        "or in the project; `known` is what every key has.", "",
        "| method | HTTP | path below `/v1/projects/{project}` | permission |",
        "| --- | --- | --- | --- |",
    ]  # fmt: skip
    for method in METHODS:
        lines.append(f"| {method.id} | {method.http} | `{method.path}` | {method.permission} |")
    lines += ["", "## The engine's own routes", "", "| HTTP | path | permission | what |",
              "| --- | --- | --- | --- |"]  # fmt: skip
    for route in OWN_ROUTES:
        lines.append(f"| {route.method} | `{route.path}` | {route.permission} | {route.about} |")
    lines += ["", "## Other dialects", "", "For clients of other servers; see "
              "[other clients](other-clients.md). Answered by the gateway and the workers.", ""]  # fmt: skip
    lines += _table(("HTTP", "path", "what"), _DIALECTS)
    lines += ["", "## Fields", "", "Every field of the public API is honoured or refused by name; for those of "
              "training jobs see [fields](fields.md). Of the others, those that do less here than their "
              "name promises:", ""]  # fmt: skip
    lines += _table(("field", "what it does here"), _rows(_RECORDED))
    lines += ["", "Refused, with `INVALID_ARGUMENT` naming the field:", ""]
    lines += _table(("field", "why, and what to do"), _rows(_REFUSED))
    lines += ["", "Of Google's service, but not of its public document; requests may hold them, and they "
              "are left out:", ""]  # fmt: skip
    lines += _table(("in", "fields"), ((f"`{at}`", ", ".join(f"`{name}`" for name in sorted(names)))
                                       for at, names in UNDOCUMENTED.items()))  # fmt: skip
    return _NOTE + "\n".join(lines) + "\n"


_DIALECTS = (
    ("GET", "`/healthz`", "the gateway is up; needs no token"),
    ("GET", "`/api/v1/limits`", "how long a request may be, and take"),
    ("GET", "`/v1/models/{model}[/versions/{n}]`", "TF Serving: status of the versions"),
    ("GET", "`/v1/models/{model}[/versions/{n}]/metadata`", "TF Serving: signatures"),
    ("POST", "`/v1/models/{model}[/versions/{n}]:predict`", "TF Serving: `instances` or `inputs`"),
    ("POST", "`/v1/models/{model}[/versions/{n}]:classify`, `:regress`", "TF Serving: `examples`"),
    ("GET", "`/v2`", "Open Inference: the server"),
    ("GET", "`/v2/health/live`, `/v2/health/ready`", "Open Inference: needs no token"),
    ("GET", "`/v2/models/{model}[/versions/{version}]`", "Open Inference: metadata"),
    (
        "GET",
        "`/v2/models/{model}[/versions/{version}]/ready`",
        "Open Inference: whether it answers",
    ),
    ("POST", "`/v2/models/{model}[/versions/{version}]/infer`", "Open Inference: tensors"),
)


def settings_page() -> str:
    """Return `docs/settings.md`."""
    gclouds = [v for name in dict.fromkeys(PROPERTIES.values()) for v in variables(name)[1:]]
    lines = [
        "# Settings", "",
        "A flag goes before a variable, a variable before `mlengine.toml` in the home folder, and that "
        "before the default. `mlengine config set NAME VALUE` writes the file; the variable of `port` "
        "is `MLENGINE_PORT`. Commands also read `MLENGINE_ENDPOINT` and `MLENGINE_TOKEN` to talk to an "
        "engine elsewhere.", "",
        "An engine reads its settings when it starts: after a change run `mlengine down`, then `mlengine up`. "
        f"What only commands read ({', '.join(f'`{name}`' for name in OF_COMMANDS)}) counts at once.", "",
        "A number that nothing could keep to is refused: more than 20 days where the system waits so long with "
        "one call, or 0 for a limit where no meaning of 0 is told and nothing would be let through. In a file that "
        "an earlier mlengine took, the most or the default goes for it, with a warning.", "",
        "Variables of gcloud's properties are read too, behind our own and before the file: "
        + ", ".join(f"`{name}`" for name in gclouds) + ".", "",
    ]  # fmt: skip
    rows = [(f"`{name}`", f"`{default}`" if default != "" else "", what)
            for name, default, what in describe()]  # fmt: skip
    lines += _table(("setting", "default", "meaning"), rows)
    return _NOTE + "\n".join(lines) + "\n"


def fields_page() -> str:
    """Return `docs/fields.md`."""
    lines = [
        "# What each field of a training job does", "",
        "For every backend: `local` is `mlengine local train`, where flags take the place of fields; "
        "`process` is a job on the engine's own machine, `ray` one on a cluster ([scale out](scale-out.md)). A "
        "refused field is answered with "
        "`INVALID_ARGUMENT`, its name, and the last column. `JobOptions` is the engine's own "
        "(`Job.options`); the others are `ml.v1`.", "",
    ]  # fmt: skip
    for owner, rules in FIELDS.items():
        lines += [f"## {owner}", ""]
        rows = [
            (f"`{_camel(name)}`", rule.local or "-", str(rule.process), rule.ray, rule.note)
            for name, rule in rules.items()
        ]
        lines += [*_table(("field", *BACKENDS, "what it does, or what to do"), rows), ""]
    lines += ["Recorded means kept and shown, without an effect.", ""]
    return _NOTE + "\n".join(lines)


def runtimes_page() -> str:
    """Return `docs/runtimes.md`."""
    lines = [
        "# Runtimes", "",
        "A runtime is a named, pinned set of libraries; a job asks for one by `--runtime-version`. It is "
        "built once, by the first job that needs it or by `mlengine runtimes build NAME`; a job's own "
        "packages are layered over it, and found again by their content.", "",
    ]  # fmt: skip
    rows = [
        (f"`{recipe.name}`", str(recipe.python) or "the engine's", recipe.description,
         ", ".join(f"`{alias}`" for alias in recipe.aliases) or "-",
         ", ".join(f"`{pin}`" for pin in recipe.requires) or "-")
        for recipe in read_catalogue()
    ]  # fmt: skip
    lines += _table(("runtime", "Python", "what it is for", "also called", "holds"), rows)
    lines += [
        "", *_RUNTIMES_PROSE.strip().splitlines(), "",
    ]  # fmt: skip
    return _NOTE + "\n".join(lines)


_RUNTIMES_PROSE = """
```sh
mlengine runtimes list              # what there is, what is built, and how large
mlengine runtimes describe 2.15     # pins, interpreter, the log of the last build
mlengine runtimes build 2.15        # now, not by the first job
mlengine runtimes delete 2.15       # the next job builds it again
mlengine runtimes gc --keep-bytes 5000000000
```

## Which one a job gets

* No version, or `local`: the engine's own interpreter and libraries.
* A name from the table.
* Another number (`1.8`, `2.1`, `2.9`): the nearest that can run it, and a warning in the job's log and details says so.
  `--strict-runtime` refuses it instead.
* Anything else is refused, with the names that exist.

`pythonVersion` is compared with what the runtime has; if it differs the job says so, or is refused when strict.

The interpreter is sought on the PATH, in pyenv and among uv's own. If none fits, the job is refused and told what to install;
only `1.15` has a way around it.

What `1.15` pickles on Python 3.7 (models of scikit-learn 0.20 and XGBoost 0.90) cannot be deployed here, since workers need
Python 3.10 or newer, whose libraries do not read it. Train it with `--runtime-version 1.15 --python-version 3.11`, which is the
stand-in below, and create the version with the same: trainers that import `sklearn.externals.joblib` run there unchanged.
SavedModels can be deployed; a booster saved as `model.bst` can, where the version is created with `--runtime-version 1.15`, too.

## TensorFlow 1 without Python 3.7

Where no Python 3.7 is found, and for `--python-version 3.10` or `3.11`, `1.15` is TensorFlow 2.15 behind a layer that gives
`import tensorflow` the names of version 1 (TF 2 behaviour off), the parts of `tf.contrib` that trainers use,
`sklearn.externals.joblib`, `as_matrix` of pandas and the old NumPy names; the job's log says so. A part of
`tf.contrib` that it lacks is refused by name when the trainer reaches for it.

There, and wherever else a job gets another runtime or another Python than it asked for, a requirement on another version of a
library that the runtime has (`numpy<1.17`, `scikit-learn==0.20.2`, `h5py==2.7.1`) is left out if the index has no wheel of it
for that Python: the runtime's own serves, and a warning in the job's log and details names each. A requirement that the runtime
does not have fails the job as ever.

| there | from |
| --- | --- |
| `contrib.learn`: `Experiment`, `learn_runner`, `RunConfig`, `Estimator` with `ModelFnOps`, the linear, deep and combined estimators, `MetricSpec`, `ValidationMonitor`, export strategies, `InputFnOps`, `datasets`, `VocabularyProcessor` | written anew over `tf.estimator`, with contrib's losses, learning rates and signatures |
| `contrib.layers`: feature columns | `tf.feature_column` |
| `contrib.layers` else, `slim` with its nets, `framework`, `losses`, `metrics`, `training` | tf-slim; `HParams` is written anew |
| `contrib.rnn`, `lookup`, `data`, `estimator`, `distribute`, `cluster_resolver`, `tpu`, `distributions`, `saved_model`, `predictor`, `opt` (AdamW), `factorization` (KMeans), `eager` (a little) | their successors in TensorFlow 2.15 |
| `keras`, `tf.keras`, `tensorflow.python.keras` | Keras 2.15 in graph mode; optimizers with `lr` and `decay` |

Not there: `contrib.seq2seq`, `crf`, `image`, `tensor_forest`, `timeseries`, `gan`, `boosted_trees`, `quantize`, `cudnn_rnn`, matrix
factorization, `learn.SVM`; of contrib's estimators `gradient_clip_norm`, `feature_engineering_fn`, `enable_centered_bias`; fused
kernels run as plain ones. `tf.__version__` says 2.15. Seeds give other random numbers than version 1 did.

## Keras 2 on 2.21

`--legacy-keras` puts `tf-keras` beside Keras 3 and makes `tf.keras` mean it. There, and on `2.15`, `lr=` and `decay=` of an optimizer
mean what they meant until TensorFlow 2.10; later versions ignore the one and refuse the other.

## What a package may require

Names from the package index. Lines that leave it (`-e`, `--index-url`, `file:`, URLs) are refused; the setting
`allow_direct_requirements` lets `name @ https://…` through. A failed installation names the requirement, the
installer's last lines and the command that shows the rest. What is on disk needs no network.
`environments_max_bytes` bounds the disk: those used longest ago go first, never one that a job uses.
"""


def _rows(fields: dict[str, dict[str, str]]) -> list[tuple[str, str]]:
    return [
        (f"`{owner}.{_camel(name)}`", what)
        for owner, named in fields.items()
        for name, what in named.items()
    ]


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


PAGES = {"api.md": api_page, "fields.md": fields_page, "runtimes.md": runtimes_page,
         "settings.md": settings_page}  # fmt: skip


def main() -> int:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
