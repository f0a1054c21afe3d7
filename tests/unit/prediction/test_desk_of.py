"""Which versions a gateway may answer from the numbers that lie beside their models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlengine.models.surroundings import Wants
from mlengine.prediction.desks import desk_of
from mlengine.prediction.scaling.fleet import NodeSpec
from mlengine.runtime.compiled import FOLDER


def _spec(artifact: Path, **more: Any) -> NodeSpec:
    return NodeSpec("uid", "projects/p/models/m/versions/v", artifact, "", "file:///m", **more)


def _compiled(artifact: Path, *names: str) -> Path:
    folder = artifact / FOLDER
    folder.mkdir()
    for name in ("compiled.json", "golden.jsonl", *names):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("names", [["recipe.npz"], ["0.npz"], ["0.npz", "1.npz"]])
def test_plain_numbers_are_for_a_desk(tmp_path: Path, names: list[str]) -> None:
    folder = _compiled(tmp_path, *names)
    assert desk_of(_spec(tmp_path)) == str(folder)
    assert desk_of(_spec(tmp_path, threads=4, memory_bytes=1 << 30, network=True)) == str(folder)


@pytest.mark.parametrize("name", ["0.onnx", "0.pb", "0.later"])
def test_numbers_that_need_a_library_are_for_workers(tmp_path: Path, name: str) -> None:
    _compiled(tmp_path, "recipe.npz", name)
    assert desk_of(_spec(tmp_path)) == ""


def test_without_numbers_there_is_no_desk(tmp_path: Path) -> None:
    assert desk_of(_spec(tmp_path / "gone")) == ""
    assert desk_of(_spec(tmp_path)) == ""
    _compiled(tmp_path)  # it could not be compiled
    assert desk_of(_spec(tmp_path)) == ""


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / FOLDER).touch()
    assert desk_of(_spec(tmp_path)) == ""


@pytest.mark.parametrize(
    "wish",
    [{"max_batch_size": 8}, {"batch_deadline_ms": 5}, {"gpus": 1}, {"wants": Wants(Path("/m"))}],
    ids=lambda wish: next(iter(wish)),
)
def test_who_asked_for_something_of_workers_gets_workers(
    tmp_path: Path, wish: dict[str, Any]
) -> None:
    _compiled(tmp_path, "recipe.npz")
    assert desk_of(_spec(tmp_path, **wish)) == ""
