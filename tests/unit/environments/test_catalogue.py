"""The runtimes that are shipped: every file is whole, and what it pins can be read offline."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlengine.core.errors import NotFound
from mlengine.environments.catalogue import (
    OVERLAYS_FOLDER,
    RUNTIMES_FOLDER,
    Catalogue,
    Recipe,
    read_catalogue,
)

SHIPPED = list(read_catalogue())
IDS = [recipe.name for recipe in SHIPPED]


def test_every_runtime_that_is_promised_is_there() -> None:
    assert IDS == ["local", "2.21", "2.15", "1.15", "sklearn-1.x", "torch"]


@pytest.mark.parametrize("recipe", SHIPPED, ids=IDS)
def test_every_pin_names_one_version_and_no_place(recipe: Recipe) -> None:
    names = []
    for pin in map(Requirement, recipe.lock):
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and not specifier.version.endswith("*")
        assert pin.url is None and pin.marker is None and not pin.extras
        names.append(canonicalize_name(pin.name))
    assert names == sorted(set(names))


@pytest.mark.parametrize("recipe", SHIPPED, ids=IDS)
def test_the_lock_holds_all_that_is_required_in_a_version_that_does(recipe: Recipe) -> None:
    pins = {canonicalize_name(pin.name): pin for pin in map(Requirement, recipe.lock)}
    for wanted in map(Requirement, recipe.requires):
        (specifier,) = pins[canonicalize_name(wanted.name)].specifier
        assert wanted.specifier.contains(specifier.version, prereleases=True), wanted


@pytest.mark.parametrize("recipe", [r for r in SHIPPED if r.lock], ids=lambda r: r.name)
def test_a_runtime_can_install_packages_and_report_to_a_tuner(recipe: Recipe) -> None:
    names = {canonicalize_name(Requirement(pin).name) for pin in recipe.lock}
    assert {"pip", "setuptools", "cloudml-hypertune", "google-cloud-storage", "gcsfs"} <= names
    assert {"numpy", "pandas", "scikit-learn"} <= names


@pytest.mark.parametrize("path", sorted(RUNTIMES_FOLDER.glob("*.toml")), ids=lambda p: p.name)
def test_no_file_names_a_host(path: Path) -> None:
    assert "://" not in path.read_text()


def test_legacy_keras_goes_with_the_tensorflow_that_it_is_added_to() -> None:
    recipe = read_catalogue().get("2.21").with_legacy_keras()
    pins = {pin.name: str(pin.specifier) for pin in map(Requirement, recipe.lock)}
    assert pins["tf-keras"] == pins["tensorflow-cpu"]
    assert recipe.variables == {"TF_USE_LEGACY_KERAS": "1"}


def test_what_stands_in_exists() -> None:
    for recipe in SHIPPED:
        if recipe.fallback:
            assert read_catalogue().find(recipe.fallback.runtime)
            assert (OVERLAYS_FOLDER / recipe.fallback.overlay).is_dir()


def test_a_runtime_is_found_by_its_aliases_in_any_case() -> None:
    catalogue = read_catalogue()
    assert catalogue.get("PyTorch").name == "torch"
    with pytest.raises(NotFound, match="Did you mean 'torch'"):
        catalogue.get("troch")


def test_a_file_that_is_no_runtime_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('name = "b"\ndescription = ""\npython = ""\n')
    with pytest.raises(ValueError, match="not that of its file"):
        read_catalogue(tmp_path)


def test_two_runtimes_never_share_a_name() -> None:
    with pytest.raises(ValueError, match=r"two runtimes are called 2\.15"):
        Catalogue([read_catalogue().get("2.15")] * 2)
