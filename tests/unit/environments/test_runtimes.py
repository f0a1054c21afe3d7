"""Runtimes made real: what they hold, what lies over them, what happens to them in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from mlengine.environments import Environment, Environments
from mlengine.environments.catalogue import Catalogue, Fallback, LegacyKeras, Recipe, read_catalogue
from mlengine.environments.interpreters import find_interpreter
from mlengine.environments.process import Outcome, run_command
from mlengine.environments.shelf import Entry, Shelf
from tests.fakes.archives import sdist, wheel

LOCAL = read_catalogue().get("local")
OWN = SpecifierSet(">=3.11")


def recipe(name: str = "tiny", lock: Sequence[str] = ("flagsy==2.0",), **more: object) -> Recipe:
    made = Recipe(name=name, description="", python=OWN, lock=tuple(lock))
    return replace(made, **more)  # type: ignore[arg-type]


def environments(root: Path, *recipes: Recipe, **options: object) -> Environments:
    catalogue = Catalogue([LOCAL, *(recipes or (recipe(),))])
    return Environments(root / "environments", catalogue=catalogue, **options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def index(no_index: Path) -> Path:
    wheel(no_index, name="flagsy", version="2.0", script="flagsy", files={"a.py": "A = 1"})
    wheel(no_index, name="tensorflow", version="2.15.1")
    wheel(no_index, name="tf_keras", version="2.15.0")
    return no_index


def says(environment: Environment, code: str) -> str:
    done = subprocess.run(
        [environment.python, "-c", code], capture_output=True, text=True, cwd="/", check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_a_runtime_holds_its_lock_and_nothing_of_ours(tmp_path: Path, installer: str) -> None:
    lines: list[str] = []
    made = environments(tmp_path, recipe(installer=installer))
    first = made.prepare([], runtime_version="tiny", log=lines.append)
    again = made.prepare([], runtime_version="TINY")
    assert (first.hit, again.hit, first.runtime) == (False, True, "tiny")
    assert (again.path, again.digest, again.site_packages) == (first.path, first.digest, None)
    code = "import importlib.util as u, flagsy.a; print([n for n in ('msgspec', 'pip', 'mlengine')"
    assert says(first, f"{code} if u.find_spec(n)])") == "[]"
    assert list(first.path.rglob("a.cpython-*.pyc"))
    assert lines[0].startswith("Building the runtime 'tiny' over Python 3.")
    assert [name.name for name in first.path.iterdir() if name.name == "scratch"] == []


def test_a_package_lies_over_its_runtime(tmp_path: Path, index: Path) -> None:
    wheel(index, name="flagsy", version="3.0")
    trainer = wheel(tmp_path, name="trainer", version="1.0", requires=["flagsy>=3"])
    made = environments(tmp_path)
    runtime = made.prepare([], runtime_version="tiny")
    layer = made.prepare([trainer], runtime_version="tiny")
    code = "import flagsy, trainer; print(flagsy.__version__, trainer.__version__)"
    assert says(layer, code) == "3.0 1.0"
    assert says(runtime, "import flagsy; print(flagsy.__version__)") == "2.0"
    assert layer.base_python == runtime.python
    assert layer.shadowed == {"flagsy"}
    assert layer.site_packages is not None and (layer.site_packages / "trainer").is_dir()
    assert made.prepare([trainer], runtime_version="tiny").shadowed == {"flagsy"}
    search = layer.variables({"PATH": "/bin"})["PATH"].split(os.pathsep)
    assert search == [str(layer.path / "bin"), str(runtime.path / "bin"), "/bin"]
    assert (runtime.path / "bin" / "flagsy").exists()


@pytest.mark.parametrize("minor", [7, 9, 13])
def test_every_python_carries_a_runtime_and_a_package(tmp_path: Path, minor: int) -> None:
    python = SpecifierSet(f"==3.{minor}.*")
    if find_interpreter(python) is None:
        pytest.skip(f"no Python 3.{minor} here")
    trainer = wheel(
        tmp_path, name="trainer", version="1.0",
        requires=["flagsy", f"none-such; python_version != '3.{minor}'"],
    )  # fmt: skip
    made = environments(tmp_path, recipe(python=python))
    layer = made.prepare([trainer], runtime_version="tiny")
    code = "import sys, flagsy, trainer; print(sys.version_info[1], sys.prefix, sys.executable)"
    assert says(layer, code).split() == [str(minor), str(layer.path), str(layer.python)]
    assert made.prepare([trainer], runtime_version="tiny").hit


def test_what_is_on_disk_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = wheel(tmp_path, name="trainer", version="1.0", requires=["flagsy"])
    first = environments(tmp_path).prepare([trainer], runtime_version="tiny")
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("mlengine.environments.workshop.run_command", None)
    again = environments(tmp_path).prepare([trainer], runtime_version="tiny")
    assert again.hit and again.path == first.path


def test_fifty_at_once_build_one_of_each(tmp_path: Path) -> None:
    trainer = wheel(tmp_path, name="trainer", version="1.0", requires=["flagsy"])
    made = environments(tmp_path)
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda _: made.prepare([trainer], runtime_version="tiny"), range(50)))
    assert len({item.path for item in found}) == 1
    assert len(list(made.builds.iterdir())) == 2
    assert [item.hit for item in found].count(False) <= 2  # one built the runtime, one the layer


def test_a_framework_of_the_runtime_serves_who_requires_an_older_one(tmp_path: Path) -> None:
    trainer = wheel(tmp_path, name="trainer", version="1.0", requires=["tensorflow==1.8.0"])
    made = environments(tmp_path, recipe(lock=["tensorflow==2.15.1"]))
    for _ in range(2):
        found = made.prepare([trainer], runtime_version="tiny")
        (warning,) = found.warnings
        assert "requires tensorflow==1.8.0; it runs with 2.15.1" in warning
    with pytest.raises(FailedPrecondition, match=r"its requirement 'tensorflow==1\.8\.0' cannot"):
        made.prepare([trainer])  # on the engine's own, a job gets what it asks for or fails


def test_where_another_runtime_stands_in_its_library_serves_for_one_that_cannot_be_had(
    tmp_path: Path, index: Path
) -> None:
    wheel(index, name="newer", version="3.0")
    sdist(index, name="flagsy", before="raise SystemExit('no compiler')")
    requires = ["flagsy==0.0.0", "newer==3.0"]
    trainer = wheel(tmp_path, name="trainer", version="1.0", requires=requires)
    wheel(index, name="newer", version="2.0")
    numbered = recipe("2.15", lock=["flagsy==2.0", "newer==2.0"])
    made = environments(tmp_path, numbered)
    lines: list[str] = []
    found = made.prepare([trainer], runtime_version="2.1", log=lines.append)
    near, replaced = found.warnings
    assert near.startswith("There is no runtime '2.1'")
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert replaced == (
        f"The package requires flagsy==0.0.0, which cannot be had for Python {own}; it runs with "
        "2.0, which is what the runtime '2.15' has."
    )
    assert replaced in lines
    code = "import flagsy, newer; print(flagsy.__version__, newer.__version__)"
    assert says(found, code) == "2.0 3.0"
    with pytest.raises(FailedPrecondition, match=r"its requirement 'flagsy==0\.0\.0'.* cannot"):
        made.prepare([trainer], runtime_version="2.15")  # the very runtime that it asks for


def test_no_library_serves_because_the_index_could_not_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = wheel(tmp_path, name="trainer", version="1.0", requires=["flagsy==0.0.0"])
    made = environments(tmp_path, recipe("2.15"))
    made.build("2.15")
    with monkeypatch.context() as online:
        for name in ("UV_OFFLINE", "UV_NO_INDEX", "UV_FIND_LINKS"):
            online.delenv(name)
        for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX"):
            online.setenv(name, "http://127.0.0.1:9/simple")  # nobody listens there
        with pytest.raises(FailedPrecondition, match=r"its requirement 'flagsy==0\.0\.0' cannot"):
            made.prepare([trainer], runtime_version="2.1")
    found = made.prepare([trainer], runtime_version="2.1")
    assert "which cannot be had for Python" in found.warnings[-1]


def test_no_library_serves_because_the_disk_was_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = wheel(tmp_path, name="trainer", version="1.0", requires=["flagsy==0.0.0"])
    made = environments(tmp_path, recipe("2.15"))

    def full(argv: Sequence[str], **options: Any) -> Outcome:
        if "--only-binary=flagsy" not in argv:
            return run_command(argv, **options)
        said = "The build backend returned an error", "OSError: No space left on device"
        return Outcome(1, said)

    with monkeypatch.context() as small:
        small.setattr("mlengine.environments.workshop.run_command", full)
        with pytest.raises(Unavailable, match="No space is left"):
            made.prepare([trainer], runtime_version="2.1")
    found = made.prepare([trainer], runtime_version="2.1")
    assert "which cannot be had for Python" in found.warnings[-1]


def test_what_no_runtime_has_is_a_failure_where_another_stands_in_too(tmp_path: Path) -> None:
    trainer = wheel(tmp_path, name="trainer", version="1.0", requires=["no-such-library==1"])
    made = environments(tmp_path, recipe("2.15"))
    with pytest.raises(FailedPrecondition, match="its requirement 'no-such-library==1' cannot"):
        made.prepare([trainer], runtime_version="2.1")


def test_an_overlay_goes_before_everything_and_is_part_of_the_digest(tmp_path: Path) -> None:
    overlay = tmp_path / "overlays" / "old"
    overlay.mkdir(parents=True)
    (overlay / "flagsy.py").write_text("__version__ = 'overlaid'")
    (overlay / "start.pth").write_text("import flagsy; flagsy.started = True\n")
    made = environments(tmp_path, recipe(overlay="old"), overlays=tmp_path / "overlays")
    trainer = wheel(tmp_path, name="trainer", version="1.0")
    first = made.prepare([trainer], runtime_version="tiny")
    assert says(first, "import flagsy; print(flagsy.__version__, flagsy.started)") == (
        "overlaid True"
    )
    (overlay / "flagsy.py").write_text("__version__ = 'changed'")
    assert "overlaid" in says(first, "import flagsy; print(flagsy.__version__)")
    again = made.prepare([trainer], runtime_version="tiny")
    assert not again.hit
    assert says(again, "import flagsy; print(flagsy.__version__)") == "changed"


def test_legacy_keras_is_an_environment_of_its_own(tmp_path: Path) -> None:
    legacy = LegacyKeras(("tf-keras==2.15.0",), {"TF_USE_LEGACY_KERAS": "1"})
    made = environments(tmp_path, recipe(keras=3, legacy_keras=legacy))
    plain = made.prepare([], runtime_version="tiny")
    found = made.prepare([], runtime_version="tiny", legacy_keras=True)
    assert found.digest != plain.digest
    assert says(found, "import tf_keras; print(tf_keras.__version__)") == "2.15.0"
    assert found.extra_environment == {"TF_USE_LEGACY_KERAS": "1"}
    assert found.variables({})["TF_USE_LEGACY_KERAS"] == "1"
    assert plain.extra_environment == {}


def test_a_runtime_that_cannot_be_had_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    made = environments(tmp_path, recipe(lock=["no-such-library==1"], remedy="Ask somebody."))
    with pytest.raises(FailedPrecondition) as caught:
        made.build("tiny")
    assert caught.value.problem.startswith("The runtime 'tiny' could not be built: ")
    assert "no-such-library" in caught.value.problem
    said = "Ask somebody. All that it said: mlengine runtimes describe tiny"
    assert caught.value.remedy == said
    found = made.describe("tiny")
    assert found.entry is None and found.log is not None
    assert "no-such-library" in found.log.read_text()


def test_the_log_of_a_build_is_kept_where_describe_says(tmp_path: Path) -> None:
    made = environments(tmp_path)
    assert made.describe("tiny").log is None
    built = made.build("tiny")
    assert built.entry is not None and built.entry.size_bytes > 0
    assert built.log is not None
    lines = built.log.read_text().splitlines()
    assert "Building the runtime 'tiny'" in lines[0] and "is built." in lines[-1]


def test_a_check_says_what_prepare_would_warn_of_and_builds_nothing(tmp_path: Path) -> None:
    made = environments(tmp_path)
    assert made.check("tiny") == made.check("") == ()
    (warning,) = made.check("tiny", "3.5")
    assert "Python 3.5 was asked for" in warning
    with pytest.raises(InvalidArgument, match="the runtime 'tiny' has Python"):
        made.check("tiny", "3.5", strict=True)
    with pytest.raises(InvalidArgument, match="Did you mean 'tiny'"):
        made.check("tinny")
    assert not made.builds.exists()


def test_a_missing_interpreter_is_told_by_describe_and_refused_by_prepare(tmp_path: Path) -> None:
    made = environments(tmp_path, recipe(python=SpecifierSet("==3.5.*")))
    assert "needs Python ==3.5.*" in made.describe("tiny").problem
    for attempt in (made.build, lambda name: made.check(name)):
        with pytest.raises(FailedPrecondition, match="there is none on PATH"):
            attempt("tiny")


# --- the end of it --------------------------------------------------------------------------------


def aged(environment: Environment, made: Environments, seconds: float) -> None:
    """Pretend that it was last asked for so long ago."""
    then = time.time() - seconds
    os.utime(made.builds.parent / ".used" / environment.path.name.split("-")[0], (then, then))


def test_those_used_longest_ago_go_first_and_runtimes_last(tmp_path: Path) -> None:
    made = environments(tmp_path)
    trainers = [wheel(tmp_path, name="trainer", version=f"{n}.0") for n in range(3)]
    layers = [made.prepare([trainer], runtime_version="tiny") for trainer in trainers]
    runtime = made.prepare([], runtime_version="tiny")
    aged(runtime, made, 10_000)
    for layer, seconds in zip(layers, (2_000, 3_000, 1_000), strict=True):
        aged(layer, made, seconds)
    facts = [json.loads(path.read_text()) for path in made.builds.glob("*/environment.json")]
    held = sum(fact["size_bytes"] for fact in facts)
    freed = made.collect(held - 100)
    assert freed > 0
    assert [layer.path.exists() for layer in layers] == [True, False, True]
    assert made.collect(0) > freed
    assert not list(made.builds.iterdir())
    assert not made.prepare([trainers[0]], runtime_version="tiny").hit


def test_what_is_in_use_stays_with_the_runtime_below_it(tmp_path: Path) -> None:
    made = environments(tmp_path)
    one, two = (wheel(tmp_path, name="trainer", version=f"{n}.0") for n in (1, 2))
    used = made.prepare([one], runtime_version="tiny")
    other = made.prepare([two], runtime_version="tiny")
    assert made.collect(0) == 0, "they were asked for just now"
    made.collect(0, in_use={used.path}, grace_s=-1)
    assert used.path.exists() and not other.path.exists()
    assert says(used, "import flagsy, trainer; print(trainer.__version__)") == "1.0"
    with pytest.raises(FailedPrecondition, match="in use by a job"):
        made.delete("tiny", in_use={used.path})
    made.delete("tiny")
    assert not list(made.builds.iterdir())
    with pytest.raises(NotFound, match="is not built"):
        made.delete("tiny")
    with pytest.raises(FailedPrecondition, match="engine's own interpreter"):
        made.delete("local")


def test_what_stands_in_for_a_runtime_is_removed_by_that_ones_name(tmp_path: Path) -> None:
    (tmp_path / "overlays" / "tf1").mkdir(parents=True)
    old = recipe("1.15", python=SpecifierSet("==3.5.*"), fallback=Fallback("2.15", "tf1"))
    made = environments(tmp_path, recipe("2.15"), old, overlays=tmp_path / "overlays")
    trainer = wheel(tmp_path, name="trainer", version="1.0")
    stand_in = made.prepare([trainer], runtime_version="1.15")
    new = made.prepare([trainer], runtime_version="2.15")
    made.delete("1.15")
    assert not stand_in.path.exists() and not stand_in.base_python.exists()
    assert new.path.exists() and new.base_python.exists()
    stand_in = made.prepare([trainer], runtime_version="1.15")
    made.delete("2.15")
    assert stand_in.path.exists() and not new.path.exists()
    for noted in made.builds.glob("*/environment.json"):  # as notes were before
        facts = json.loads(noted.read_text())
        del facts["serves"]
        noted.write_text(json.dumps(facts))
    with pytest.raises(NotFound):
        made.delete("1.15")
    made.delete("2.15")
    assert not list(made.builds.iterdir())


def test_one_that_is_asked_for_while_it_is_removed_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = environments(tmp_path)
    runtime = made.prepare([], runtime_version="tiny")
    aged(runtime, made, 1_000)
    unlink = Path.unlink

    def asked_meanwhile(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        if path.parent == made.builds.parent:
            aged(runtime, made, 0)

    monkeypatch.setattr(Path, "unlink", asked_meanwhile)
    assert made.collect(0, grace_s=10) == 0
    monkeypatch.undo()
    assert environments(tmp_path).prepare([], runtime_version="tiny").path == runtime.path


def test_one_that_is_being_built_is_not_removed(tmp_path: Path) -> None:
    made = environments(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(made.prepare, [], runtime_version="tiny")
        while not building.done():
            made.collect(0)
            made.sweep()
    assert building.result().python.exists()


def test_a_runtime_that_is_being_built_on_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = environments(tmp_path)
    other = made.prepare([wheel(tmp_path, name="other", version="1.0")], runtime_version="tiny")
    runtime = made.prepare([], runtime_version="tiny")
    trainer = wheel(tmp_path, name="trainer", version="1.0")
    refused: list[str] = []

    def removed_meanwhile(argv: Sequence[str], **options: Any) -> Outcome:
        with pytest.raises(FailedPrecondition) as caught:
            made.delete("tiny")
        refused.append(caught.value.problem)
        made.collect(0, grace_s=-1)
        return run_command(argv, **options)

    with monkeypatch.context() as building:
        building.setattr("mlengine.environments.workshop.run_command", removed_meanwhile)
        layer = made.prepare([trainer], runtime_version="tiny")
    assert refused and set(refused) == {"The runtime 'tiny' is in use by a job."}
    assert not other.path.exists(), "which no job needs"
    assert layer.base_python == runtime.python
    assert says(layer, "import flagsy, trainer; print(trainer.__version__)") == "1.0"
    made.delete("tiny")
    assert not list(made.builds.iterdir())


def test_a_runtime_that_is_removed_before_it_is_built_on_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = environments(tmp_path)
    runtime = made.prepare([], runtime_version="tiny")
    kept = Shelf.kept

    def removed(shelf: Shelf, entry: Entry, **options: Any) -> Any:
        if entry.path == runtime.path:
            made.delete("tiny")
        return kept(shelf, entry, **options)

    monkeypatch.setattr(Shelf, "kept", removed)
    trainer = wheel(tmp_path, name="trainer", version="1.0")
    layer = made.prepare([trainer], runtime_version="tiny")
    assert not runtime.path.exists()
    assert says(layer, "import flagsy, trainer; print(trainer.__version__)") == "1.0"
