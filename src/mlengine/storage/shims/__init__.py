"""``gsutil`` and ``gcloud storage`` for trainers that call them: the same words over our buckets.

Trainers run ``subprocess.check_call(["gsutil", "-m", "cp", "-r", local, "gs://b/out"])``; in a
replica these two programs come first on the ``PATH``. They run on the engine's interpreter,
whatever the trainer's is, and open the job's folders themselves, with what the attempt's own file
tells (`mlengine.storage.sidecar.config`); object stores they reach through the attempt's helper.
What they do not know they refuse by name: a command that seems to have worked is worse than one
that says that it cannot.

`gsutil` and `gcloud` read the words, `commands` does what they mean, `contents` carries what is
said of objects beside their bytes, `realpaths` knows the paths that arguments became, and
`programs` writes the files that replicas find.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["CONFIG_VARIABLE", "main"]

CONFIG_VARIABLE = "MLENGINE_BUCKETS"
"""Names the attempt's file in the environment of a replica."""


def main(program: str, words: Sequence[str]) -> int:
    """Run one of the programs; return its exit code."""
    from mlengine.core.errors import EngineError
    from mlengine.storage.shims import gcloud, gsutil
    from mlengine.storage.shims.commands import Commands
    from mlengine.storage.shims.realpaths import uri_of
    from mlengine.storage.sidecar.config import open_buckets, read_config

    run = {"gsutil": gsutil.run, "gcloud": gcloud.run}[program]

    def commands() -> Commands:
        config = read_config(Path(os.environ.get(CONFIG_VARIABLE, "")))
        buckets = open_buckets(config, by_helper=True)
        return Commands(buckets, as_uri=lambda word: uri_of(word, config))

    try:
        return run(list(words), commands, dict(os.environ))
    except EngineError as error:
        prefix = "CommandException:" if program == "gsutil" else "ERROR: (gcloud)"
        print(f"{prefix} {error.description}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read had enough
        return 1
    except KeyboardInterrupt:
        return 130
