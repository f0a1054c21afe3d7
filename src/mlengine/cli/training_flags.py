"""The flags of `jobs submit training`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from mlengine.cli.flags import ACCELERATOR, BOOL, LABELS, LIST, Choice
from mlengine.core.choices import SCALE_TIERS

__all__ = ["ROLES", "training_flags"]

F = TypeVar("F", bound=Callable[..., Any])

ROLES = ("master", "worker", "parameter_server")
_RULES = ("median", "decay-curve", "asha")
_FINDINGS = ("traceback", "non-finite", "export", "objective")


def training_flags(function: F) -> F:
    """Add the flags to a command."""
    for option in reversed([*_program(), *_place(), *_machines(), *_own(), *_rest()]):
        function = option(function)
    return function


def _program() -> Iterator[Callable[[F], F]]:
    yield click.option("--package-path", metavar="DIR", help="Folder of the trainer package.")
    yield click.option(
        "--packages", type=LIST, multiple=True, help="More archives, local or gs://."
    )
    yield click.option("--module-name", help="Module that trains, such as trainer.task.")
    yield click.option("--config", metavar="FILE", help="A Job as YAML or JSON; flags go over it.")
    yield click.option(
        "--runtime-version", help="Libraries, such as 2.15; see 'mlengine runtimes list'."
    )
    yield click.option("--python-version", help="Checked against the runtime's.")


def _place() -> Iterator[Callable[[F], F]]:
    yield click.option("--job-dir", metavar="URI", help="Where the job writes: gs://... or a path.")
    yield click.option("--staging-bucket", metavar="gs://B", help="Where packages are uploaded to.")
    yield click.option("--region", help="Default: the setting 'region'.")
    yield click.option("--labels", type=LABELS, multiple=True, help="Labels of the job.")


def _machines() -> Iterator[Callable[[F], F]]:
    yield click.option("--scale-tier", type=Choice(*SCALE_TIERS), help="Default: basic.")
    for role in ROLES:
        flag = "--" + role.replace("_", "-")
        noun = role.replace("_", " ")
        yield click.option(f"{flag}-machine-type", help=f"Machine of the {noun}.")
        if role != "master":
            yield click.option(f"{flag}-count", type=click.IntRange(min=1), help="How many.")
        yield click.option(f"{flag}-accelerator", type=ACCELERATOR, help=f"GPUs of the {noun}.")
        yield click.option(f"{flag}-image-uri", help="Refused here: submit a Python package.")
    yield click.option(
        "--use-chief-in-tf-config",
        type=BOOL,
        help="The first replica is the chief, whatever the runtime.",
    )
    yield click.option("--tpu-tf-version", help="Refused here: there are no TPUs.")


def _own() -> Iterator[Callable[[F], F]]:
    """Give what Google's API has no field for: `Job.options`."""
    yield click.option(
        "--strict-runtime", is_flag=True, help="Refuse a runtime version that is only near."
    )
    yield click.option(
        "--strict-resources", is_flag=True, help="Wait for all CPUs and memory that are asked for."
    )
    yield click.option("--legacy-keras", is_flag=True, help="Keras 2 on a runtime of Keras 3.")
    yield click.option(
        "--max-retries", type=click.IntRange(0, 20), help="Start again after a passing failure."
    )
    yield click.option(
        "--trial-early-stopping", type=click.Choice(_RULES),
        help="Stop trials of a tuning job by this rule.",
    )  # fmt: skip
    yield click.option(
        "--allow", type=click.Choice(_FINDINGS), multiple=True,
        help="Succeed in spite of this finding; may be repeated.",
    )  # fmt: skip


def _rest() -> Iterator[Callable[[F], F]]:
    yield click.option("--service-account", help="Refused here: jobs run as the engine's own user.")
    yield click.option(
        "--enable-web-access", is_flag=True, help="Refused here: there are no interactive shells."
    )
    yield click.option("--network", help="Refused here: jobs run on this machine.")
    for name in ("--kms-key", "--kms-keyring", "--kms-location", "--kms-project"):
        yield click.option(name, hidden=True)
    yield click.option("--stream-logs", is_flag=True, help="Wait for the end and show the log.")
    yield click.option("--async", "async_", is_flag=True, hidden=True)
