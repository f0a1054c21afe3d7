"""`mlengine runtimes`, byte for byte."""

from __future__ import annotations

import json

from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run


def test_runtimes_are_listed_with_what_is_built(run: Run) -> None:
    assert run("runtimes", "list") == (
        0,
        (
            "NAME   PYTHON        BUILT  DESCRIPTION\n"
            "local                yes    local libraries\n"
            "2.15   >=3.10,<3.12  no     2.15 libraries\n"
        ),
        "",
    )
    run("runtimes", "build", "2.15")
    assert "2.15   >=3.10,<3.12  yes    1.2 GiB  2.15" in run("runtimes", "list").out


def test_a_runtime_is_described_by_an_alias_too(run: Run) -> None:
    done = run("runtimes", "describe", "my-2.15", "--format=json")
    assert json.loads(done.out)["name"] == "2.15"


def test_building_says_how_far_it_is_on_stderr_only(run: Run, engine: FakeEngine) -> None:
    assert run("runtimes", "build", "local", "2.15") == (
        0,
        "",
        ("The runtime [local] is built already.\nBuilding the runtime [2.15]...done (1,300 MB).\n"),
    )
    engine.runtimes["2.15"].built = False
    engine.runtimes["2.15"].problem = "needs Python 3.7"
    assert run("runtimes", "build", "2.15").err.endswith("WARNING: needs Python 3.7\n")


def test_an_unknown_runtime_builds_nothing(run: Run, engine: FakeEngine) -> None:
    done = run("runtimes", "build", "2.15", "nonsense")
    assert done.code == 1 and "nonsense" in done.err
    assert not engine.runtimes["2.15"].built


def test_what_is_built_is_deleted_once_confirmed(run: Run, engine: FakeEngine) -> None:
    run("runtimes", "build", "2.15")
    done = run("runtimes", "delete", "my-2.15", "-q")
    assert done.code == 0
    assert done.err.startswith("This will delete what is built of [2.15]")
    assert done.err.endswith("Deleted what was built of [2.15].\n")
    assert not engine.runtimes["2.15"].built
    assert "is not built" in run("runtimes", "delete", "2.15", "-q").err


def test_collecting_says_what_was_freed(run: Run) -> None:
    run("runtimes", "build", "2.15")
    assert run("runtimes", "gc") == (0, "", "Freed 0 MB.\n")
    assert run("runtimes", "gc", "--keep-bytes=0").err == "Freed 1,300 MB.\n"
    assert run("runtimes", "gc", "--keep-bytes=-1").code == 2
