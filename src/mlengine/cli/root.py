"""The tree of commands; each is imported only when it is run."""

from __future__ import annotations

import click

from mlengine.cli.tree import Branch, Group

__all__ = ["root"]

_AT = "mlengine.cli.commands."

_EPILOG = """\b
Flags that any command takes, anywhere on the line:
  --project P         project to act on (default: MLENGINE_PROJECT, or 'default')
  --home DIR          folder of the local engine (default: MLENGINE_HOME, or ~/.mlengine)
  --format F          json, yaml, value(a,b), csv(a,b), table(a,b), list, config, none
  --flatten KEY       one row for every item of a list
  -q, --quiet         never ask; take the default
  --verbosity LEVEL   debug, info, warning, error, critical, none
  --log-http          show every call to the engine on stderr

\b
Flags of commands that list: --filter --sort-by --limit --page-size --uri
"""


root = Group(
    "mlengine",
    help="Train, deploy and predict on an engine of your own.",
    epilog=_EPILOG,
    branches={
        "auth": Branch(_AT + "auth:auth", "The access token."),
        "config": Branch(_AT + "config:config", "Settings, in mlengine.toml."),
        "down": Branch(_AT + "daemon:down", "Stop the local engine."),
        "explain": Branch(_AT + "explain:explain", "Tell what each feature adds to a score."),
        "jobs": Branch(_AT + "jobs:jobs", "Submit, watch and stop jobs."),
        "keys": Branch(_AT + "keys:keys", "Keys: who else may call."),
        "local": Branch(_AT + "local:local", "Train and predict here, without an engine."),
        "locations": Branch(_AT + "locations:locations", "Where jobs and versions run."),
        "models": Branch(_AT + "models:models", "Models: names that versions live under."),
        "operations": Branch(_AT + "operations:operations", "Work that goes on after the answer."),
        "predict": Branch(_AT + "predict:predict", "Ask a deployed version for predictions."),
        "predictions": Branch(
            _AT + "predictions:predictions", "What was asked and answered, and became of it."
        ),
        "runtimes": Branch(_AT + "runtimes:runtimes", "Pinned libraries that jobs can ask for."),
        "status": Branch(_AT + "daemon:status", "What runs."),
        "storage": Branch(_AT + "storage:storage", "Buckets and objects."),
        "studies": Branch(_AT + "studies:studies", "Search spaces, and what to try next."),
        "tensorboard": Branch(_AT + "tensorboard:tensorboard", "Look at jobs with TensorBoard."),
        "up": Branch(_AT + "daemon:up", "Run an engine in the foreground."),
        "version": Branch(_AT + "version:version", "The version of mlengine; also --version."),
        "versions": Branch(_AT + "versions:versions", "Versions: deployed artefacts of a model."),
    },
)


def main_words(words: tuple[str, ...]) -> list[str]:
    """Let ``mlengine --version`` mean the command, as people try it first."""
    return ["version"] if words == ("--version",) else list(words)


_: click.Group = root
