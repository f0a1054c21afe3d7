"""`mlengine local`: train and predict on this machine, without an engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from mlengine.cli.errors import CommandError
from mlengine.cli.flags import Choice
from mlengine.cli.instances import instance_flags, read_instances, signature_flag
from mlengine.cli.predictions import show_answer
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Group, command
from mlengine.core.choices import DEFAULT_START_PORT, FRAMEWORKS
from mlengine.core.resources import Bucket
from mlengine.runtime.boot import boot_command
from mlengine.runtime.process import QUIET

__all__ = ["local"]

local = Group("local", help="Train and predict here, without an engine.")


@command(local, "train", takes_rest=True)
@click.option("--module-name", required=True, help="Module that trains, such as trainer.task.")
@click.option("--package-path", metavar="DIR", default=".", help="Its package (default: here).")
@click.option("--job-dir", metavar="PATH", default="", help="Passed on to the trainer.")
@click.option("--distributed", is_flag=True, help="Also start workers and parameter servers.")
@click.option("--parameter-server-count", type=int, help="Default: 2.")
@click.option("--worker-count", type=int, help="Default: 2.")
@click.option("--evaluator-count", type=int, help="Default: 0.")
@click.option(
    "--start-port", type=int, default=DEFAULT_START_PORT, help=f"Default: {DEFAULT_START_PORT}."
)
@pass_session
def train(session: Session, /, module_name: str, package_path: str, **given: Any) -> int:
    """Run a trainer; what stands behind -- goes to it. The exit code is the trainer's."""
    from mlengine.training.local import run_local
    from mlengine.training.localaccess import local_access
    from mlengine.training.localplaces import local_places

    root, backed = session.settings.folder("buckets"), _backed(session)
    sys.stdout.flush()
    with (
        local_access(root, backed=backed, project=session.project, environ=os.environ) as access,
        local_places(root, Path(package_path), backed=backed, warn=session.warn) as places,
    ):
        job_dir, job_place = places.job_dir(given["job_dir"])
        return run_local(
            module_name,
            package_path,
            job_dir=job_dir,
            job_place=job_place,
            args=[places.argument(argument) for argument in session.rest or ()],
            distributed=given["distributed"],
            worker_count=given["worker_count"],
            parameter_server_count=given["parameter_server_count"],
            evaluator_count=given["evaluator_count"],
            start_port=given["start_port"],
            python=session.settings.local_python,
            evaluator_grace_s=session.settings.evaluator_grace_s,
            access=access,
            warn=session.warn,
        )


def _backed(session: Session) -> list[Bucket]:
    """Ask the engine, if one runs here, for the buckets that are no folders of its home."""
    from mlengine.client.local import find

    if find(session.settings.home) is None:
        return []
    return [bucket for bucket in session.engine.list_buckets() if bucket.backing]


@command(local, "predict")
@click.option("--model-dir", metavar="DIR", required=True, help="Folder of the model, or gs://...")
@click.option("--framework", type=Choice(*FRAMEWORKS), help="Default: seen from the files.")
@click.option("--package", "packages", metavar="PACKAGE", multiple=True,
              help="Code that the model or the class needs: a folder or an archive.")  # fmt: skip
@click.option("--prediction-class", default="", help="Class of a custom prediction routine.")
@click.option("--runtime-version", default="", help="Libraries; default: this interpreter's.")
@instance_flags
@signature_flag
@pass_session
def predict(session: Session, /, model_dir: str, framework: str | None, **given: Any) -> None:
    """Ask a model that is not deployed, or a custom prediction routine."""
    if framework and given["prediction_class"]:
        raise CommandError(
            "A custom prediction routine answers in a framework's place: leave --framework out."
        )
    instances = read_instances(
        session, given["json_request"], given["json_instances"], given["text_instances"]
    )
    with tempfile.TemporaryDirectory(prefix="mlengine-model-") as folder:
        where = Path(model_dir)
        if model_dir.startswith("gs://"):
            where = Path(folder) / "model"
            _download(session, model_dir, where)
        if not where.is_dir():
            raise CommandError(f"The folder [{where}] of --model-dir does not exist.")
        python = _python(session, where, framework, given, Path(folder))
        answer = _ask(python, where, framework, given, instances)
    session.write(show_answer(answer, session.form, session.flags.flatten))


def _python(
    session: Session, model_dir: Path, framework: str | None, given: dict[str, Any], scratch: Path
) -> str:
    """Return the interpreter that a version of this kind would be served by; it may be built."""
    from mlengine.cli.packages import packed
    from mlengine.engine.home import open_private
    from mlengine.environments import Environments
    from mlengine.models.surroundings import SurroundingsOf, Wants

    if not given["packages"] and not given["runtime_version"]:
        return sys.executable
    settings = session.settings
    open_private(settings.home)  # an engine refuses one that the umask left open
    environments = Environments(
        settings.home / "environments",
        timeout_s=settings.install_timeout_s,
        allow_direct=settings.allow_direct_requirements,
    )
    wants = Wants(
        model_dir, framework or "", given["runtime_version"],
        prediction_class=given["prediction_class"],
        packages=tuple(packed(session, given["packages"], "--package", scratch)),
    )  # fmt: skip
    found = SurroundingsOf(environments, settings.home).prepare("local", wants)
    for note in found.notes:
        session.warn(note)
    return found.python or sys.executable


def _ask(
    python: str, model_dir: Path, framework: str | None, given: dict[str, Any], instances: Any
) -> bytes:
    signature, routine = given["signature_name"], given["prediction_class"]
    # `--flag=value`: a value that starts with a hyphen is no flag then.
    flags = [f"--model-dir={model_dir}"]
    flags += [f"--framework={framework}"] if framework else []
    flags += [f"--signature-name={signature}"] if signature else []
    flags += [f"--prediction-class={routine}"] if routine else []
    flags += [f"--package={package}" for package in given["packages"]]
    argv = boot_command(python, "mlengine.runtime.predict", *flags)
    if not routine:
        argv[1:1] = ["-P"] * (python == sys.executable)
    request: dict[str, Any] = {"instances": instances}
    if signature:
        request["signature_name"] = signature
    done = subprocess.run(
        argv, input=json.dumps(request).encode(), stdout=subprocess.PIPE,
        env={**QUIET, **os.environ},
    )  # fmt: skip
    if done.returncode != 0:
        raise CommandError(_reason(done.stdout, done.returncode))
    return done.stdout


def _reason(said: bytes, status: int) -> str:
    """Find the model's own message in the answer."""
    try:
        error = json.loads(said)["error"]
        return str(error["message"] if isinstance(error, dict) else error).strip()
    except (ValueError, KeyError, TypeError):
        if status < 0:
            return f"The model's process was ended by signal {-status}."
        return f"The model's process ended with status {status}."


def _download(session: Session, uri: str, into: Path) -> None:
    from mlengine.cli.objects import EngineObjects
    from mlengine.storage.transfer import plan_copy, run_copy

    store = EngineObjects(session.engine)
    # A destination that does not exist yet becomes the folder itself.
    run_copy(plan_copy([uri], str(into), recursive=True, store=store), store)
