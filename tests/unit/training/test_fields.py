"""The table of fields names every field there is, and says of it what the engine does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mlengine.core import resources
from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import ReplicaConfig, TrainingInput
from mlengine.training.checks import check_training_input
from mlengine.training.fields import BACKENDS, FIELDS, Treatment, refused
from mlengine.training.trials import hyperparameters

VALUES: dict[str, Any] = {
    "hyperparameters": {"goal": "MAXIMIZE"},
    "encryption_config": resources.EncryptionConfig(kms_key_name="projects/p/locations/l"),
    "enable_web_access": True,
    "container_command": ["run"],
    "container_args": ["run"],
    "disk_config": resources.DiskConfig(boot_disk_size_gb=100),
}


@pytest.mark.parametrize("owner", FIELDS)
def test_every_field_of_the_message_is_in_the_table(owner: str) -> None:
    message = getattr(resources, owner, None) or getattr(hyperparameters, owner)
    assert set(FIELDS[owner]) == set(message.__struct_fields__)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (owner, name)
        for owner, rules in FIELDS.items()
        for name, rule in rules.items()
        if owner in ("TrainingInput", "ReplicaConfig") and name != "accelerator_config"
    ],
)
def test_a_field_is_refused_by_name_exactly_when_the_table_says_so(owner: str, name: str) -> None:
    spec = _with(owner, name)
    said = ""
    try:
        check_training_input(spec)
    except InvalidArgument as error:
        said = error.problem
    refusal = f"does not support '{name}'" in said
    assert refusal == (FIELDS[owner][name].process is Treatment.REFUSED), said


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_field_has_a_word_for_every_backend(backend: str) -> None:
    for rules in FIELDS.values():
        for rule in rules.values():
            # What a launcher's checks refuse, every launcher refuses: they are the same.
            refused_there = getattr(rule, backend) == Treatment.REFUSED
            assert refused_there == (rule.process is Treatment.REFUSED and backend != "local")


def test_a_refusal_says_what_to_do_instead() -> None:
    for owner in FIELDS:
        for note in refused(owner).values():
            assert note.endswith("."), note


def _with(owner: str, name: str) -> TrainingInput:
    base = TrainingInput(region="local", python_module="t.task", package_uris=["gs://b/t.tar.gz"])
    message = base if owner == "TrainingInput" else ReplicaConfig()
    value = VALUES.get(name) or _sample(getattr(message, name))
    changed = msgspec.structs.replace(message, **{name: value})
    if owner == "TrainingInput":
        return changed
    return msgspec.structs.replace(base, master_config=changed)


def _sample(zero: Any) -> Any:
    return {str: "n1-standard-4", int: 1, bool: True, list: ["a"]}.get(type(zero))
