"""The engine dies at every single write, once just before it and once just after it.

Not at random: each verb of models and versions is cut off at its first, second, … write to the
store until one run survives. What the next engine finds must be whole or be made whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.clock import SystemClock
from mlengine.core.errors import EngineError, Unavailable
from mlengine.core.resources import Bucket, Model, Version
from mlengine.models.artifacts import Artifacts
from mlengine.models.deployment import Deployment
from mlengine.models.registry import Models
from mlengine.storage import Buckets
from mlengine.store import Store, VersionRecord, open_store
from tests.waiting import wait_until

P = "default"
_WRITES = ("add_", "move_", "edit_", "remove_", "set_default", "finish_")
_SETTLED = ("READY", "FAILED")


class _Died(BaseException):
    """What a killed process cannot catch."""


class _FailingStore:
    """A store that goes away at its n-th write: for good (a kill), or for that call (a lock)."""

    def __init__(self, store: Store, *, at: int, after: bool, for_good: bool) -> None:
        self._store = store
        self._left, self._after, self._for_good = at, after, for_good
        self.fired = False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        if self.fired and self._for_good and name != "close":
            raise _Died
        return self._counted(call) if name.startswith(_WRITES) else call

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            self._left -= 1
            self.fired = self.fired or self._left == 0
            if self._left != 0:
                return call(*args, **named)
            if self._after:
                call(*args, **named)
            raise _Died if self._for_good else Unavailable("The database is locked.", "Try again.")

        return counted


class _Loader:
    def __init__(self) -> None:
        self.serving: set[str] = set()

    def load(self, record: VersionRecord, artifact: Path, *, cancelled: Callable[[], bool]) -> None:
        assert (artifact / "model.joblib").exists()
        self.serving.add(record.uid)

    def unload(self, record: VersionRecord) -> None:
        self.serving.discard(record.uid)

    def publish(self) -> None:
        pass


class World:
    """What one engine process is, of models; the next one may be made on the same home."""

    def __init__(self, home: Path, wrap: Callable[[Store], Any] = lambda store: store) -> None:
        self._bare = open_store(f"sqlite:///{home / 'engine.db'}")
        self.store: Store = wrap(self._bare)
        self.buckets = Buckets(self._bare, home / "buckets")
        artifacts = Artifacts(self.buckets, home / "models", max_bytes=1000)
        self.loader = _Loader()
        clock = SystemClock()
        self.deployment = Deployment(self.store, artifacts, self.loader, clock=clock)
        self.models = Models(
            self.store, artifacts, clock=clock, deploy=self.deployment.submit, publish=lambda: None
        )

    def prepare(self) -> None:
        self.buckets.create(Bucket(name="mine"))
        self.buckets.write("gs://mine/export/model.joblib", [b"model"])
        self.models.create_model(P, Model(name="m"))
        for name in ("v1", "v2"):
            self.create(name)
            self.settle()

    def create(self, name: str) -> None:
        version = Version(name=name, deployment_uri="gs://mine/export/")
        self.models.create_version(P, "m", version)

    def unsettled(self) -> list[str]:
        versions = self._bare.versions(P, "m")
        return [v.version_id for v in versions if v.state not in _SETTLED] + [
            o.operation_id for o in self._bare.open_operations()
        ]

    def settle(self) -> None:
        """Do what the reconciler does each second until nothing is under way."""

        def quiet() -> bool:
            self.deployment.resume()
            return not self.unsettled()

        wait_until(quiet, 10, "unfinished: " + ", ".join(self.unsettled()))

    def close(self) -> None:
        self.deployment.close()
        self._bare.close()


_VERBS: dict[str, Callable[[World], object]] = {
    "create": lambda w: w.create("v3"),
    "delete": lambda w: w.models.delete_version(P, "m", "v2"),
    "set default": lambda w: w.models.set_default(P, "m", "v2"),
    "patch a model": lambda w: w.models.update_model(
        P, "m", Model(labels={"a": "b"}), update_mask="labels"
    ),
    "patch a version": lambda w: w.models.update_version(
        P, "m", "v1", Version(labels={"a": "b"}), update_mask="labels"
    ),
}


def _cut_off(
    home: Path, verb: Callable[[World], object], *, at: int, after: bool, for_good: bool
) -> bool:
    """Run a verb on a store that fails once; return whether it got that far."""
    world = World(home, lambda s: _FailingStore(s, at=at, after=after, for_good=for_good))
    try:
        verb(world)
        if not for_good:
            world.settle()
    except (_Died, EngineError):
        if not for_good:
            world.settle()  # the same engine mends it
    finally:
        world.close()
    fired: bool = world.store.fired  # type: ignore[attr-defined]
    return fired


def _rounds() -> Iterator[tuple[int, bool]]:
    return ((at, after) for at in itertools.count(1) for after in (False, True))


@pytest.mark.parametrize("for_good", [True, False], ids=["killed", "locked out"])
@pytest.mark.parametrize("verb", _VERBS)
def test_a_verb_cut_off_at_any_write_is_made_whole(
    verb: str, for_good: bool, tmp_path: Path
) -> None:
    fired = 0
    for at, after in _rounds():
        home = tmp_path / f"{at}{after}"
        home.mkdir()
        world = World(home)
        world.prepare()
        world.close()
        if not _cut_off(home, _VERBS[verb], at=at, after=after, for_good=for_good):
            break
        fired += 1
        _check_next_engine(home, where=f"write {at}, {'after' if after else 'before'} it")
    assert fired >= 2
    print(f"{verb}: cut off at {fired} places")


def _told(world: World, kind: str) -> set[str]:
    """Return the versions that operations of a kind tell of."""
    told = (record.operation.metadata for record in world.store.operations(P))
    return {m["version"]["name"].rpartition("/")[2] for m in told if m["operationType"] == kind}


def _check_next_engine(home: Path, *, where: str) -> None:
    world = World(home)
    try:
        world.settle()
        versions = {v.version_id: v for v in world.store.versions(P, "m")}
        defaults = [v for v in versions.values() if v.version.is_default]
        assert [v.state for v in defaults] == ["READY"], where
        assert all(v.state == "READY" for v in versions.values()), (where, versions)
        for record in world.store.operations(P):
            operation, kind = record.operation, record.operation.metadata["operationType"]
            name = operation.metadata.get("version", {}).get("name", "").rpartition("/")[2]
            if kind == "CREATE_VERSION" and name == "v3":
                assert (operation.error is None) == ("v3" in versions), (where, operation)
            if kind == "DELETE_VERSION":
                assert (operation.error is None) == (name not in versions), (where, operation)
            assert operation.metadata.get("endTime"), (where, operation)
        # No change without the operation that whoever asked for it can find.
        assert {"v1", "v2"} - versions.keys() <= _told(world, "DELETE_VERSION"), where
        assert versions.keys() <= _told(world, "CREATE_VERSION"), where
        if versions["v1"].version.labels:
            assert _told(world, "UPDATE_VERSION") == {"v1"}, where
        kinds = [o.operation.metadata["operationType"] for o in world.store.operations(P)]
        assert bool(world.store.model(P, "m").model.labels) == ("UPDATE_MODEL" in kinds), where
    finally:
        world.close()
