"""What every test may rely on, and which are left to `make test-all`.

A test marked `repeats` shows on one more framework, runtime or machine what another test shows on
its own: `make test` leaves those out, and its last lines say how many they were. Properties that
do not say otherwise are tried with fewer examples there too.
"""

from __future__ import annotations

import os
import signal
import tracemalloc  # noqa: F401  # where something is left open pytest imports it, amid a test
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A runner in the background of a shell starts with SIGINT ignored, and so would every child of it:
# tests that press Ctrl-C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Under nohup it starts with SIGHUP ignored. What it handles itself its children do not inherit, and
# tests that close a terminal need children that hear; the runner goes on as it was told to.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda _signum, _frame: None)

# Threads of numeric libraries spin while they wait for each other, for as long as they work, and
# every core has tests of its own. Read when such a library is loaded; children inherit it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Tests that convert models import it, too; from 1.31 on it reports to its makers if nobody objects.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Properties are about results; how long an example takes says how busy the machine is. Where `CI`
# is set, hypothesis has a profile of its own that says the same.
_KIND = "ci" if "CI" in os.environ else "default"
settings.register_profile(
    "all", settings.get_profile(_KIND), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("some", settings.get_profile("all"), max_examples=50)

_LEFT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run tests marked `repeats` too")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("all" if config.getoption("--all") else "some")
    config.stash[_LEFT] = 0
    config.addinivalue_line(
        "markers", "repeats: shows once more, elsewhere, what another test shows; needs --all"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    left = [item for item in items if item.get_closest_marker("repeats")]
    if left:
        items[:] = [item for item in items if not item.get_closest_marker("repeats")]
        config.hook.pytest_deselected(items=left)
        config.stash[_LEFT] = len(left)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker process: tell the one that reports."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["left"] = session.config.stash[_LEFT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In the process that reports: every worker has looked at all the tests."""
    left = getattr(node, "workeroutput", {}).get("left", 0)
    node.config.stash[_LEFT] = max(left, node.config.stash[_LEFT])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if left := config.stash[_LEFT]:
        terminalreporter.write_line(
            f"left out, for they repeat others: {left}; `make test-all`, or --all, runs them too"
        )
