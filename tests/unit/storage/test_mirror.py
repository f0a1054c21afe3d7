"""`rsync`: what is copied, what is removed, what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from mlengine.core.resources import Bucket
from mlengine.storage import Buckets, ObjectInfo
from mlengine.storage.mirror import SyncPlan, plan_sync, same_bytes
from mlengine.storage.sources import File


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, with a tree ``dir`` of ``a`` and ``sub/b``."""
    folder = tmp_path / "user"
    (folder / "dir/sub").mkdir(parents=True)
    for name in ("dir/a", "dir/sub/b"):
        (folder / name).write_text(name)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def store(buckets: Buckets) -> Buckets:
    """``data`` with ``m/a`` as in ``dir``, ``m/sub/b`` of the same size and ``m/old``."""
    buckets.create(Bucket(name="other"))
    for name, text in (("m/a", "dir/a"), ("m/sub/b", "DIR/SUB/B"), ("m/old", "old"), ("m2", "2")):
        buckets.write(f"gs://data/{name}", [text.encode()])
    return buckets


def plan(
    store: Buckets,
    source: str,
    destination: str,
    *,
    recursive: bool = False,
    delete: bool = False,
    follow_links: bool = False,
) -> SyncPlan:
    def is_same(one: File, other: File) -> bool:
        return one.size == other.size and same_bytes(one.place, other.place, store)

    return plan_sync(
        source,
        destination,
        recursive=recursive,
        delete=delete,
        store=store,
        is_same=is_same,
        follow_links=follow_links,
    )


def seen(found: SyncPlan) -> tuple[list[str], list[str]]:
    return [str(step.destination) for step in found.steps], [str(place) for place in found.doomed]


def test_what_differs_is_copied_and_what_is_more_is_removed_when_told(
    store: Buckets, here: Path
) -> None:
    assert seen(plan(store, "dir", "gs://data/m")) == ([], [])
    assert seen(plan(store, "dir", "gs://data/m", recursive=True)) == (["gs://data/m/sub/b"], [])
    removing = plan(store, "dir", "gs://data/m", recursive=True, delete=True)
    assert seen(removing) == (["gs://data/m/sub/b"], ["gs://data/m/old"])
    back = plan(store, "gs://data/m", "dir", recursive=True)
    assert seen(back) == ([f"{here}/dir/old", f"{here}/dir/sub/b"], [])
    assert seen(plan(store, "gs://data/m", "gs://other")) == (
        ["gs://other/a", "gs://other/old"],
        [],
    )


def test_what_is_left_out_is_not_removed(store: Buckets, here: Path) -> None:
    (here / "dir/old").symlink_to("a")
    assert seen(plan(store, "dir", "gs://data/m", delete=True)) == ([], [])
    followed = plan(store, "dir", "gs://data/m", delete=True, follow_links=True)
    assert seen(followed) == (["gs://data/m/old"], [])


@pytest.mark.parametrize(
    "source", ["none", "dir/a", "gs://data/none", "gs://data/m/a", "gs://none"]
)
def test_a_source_that_is_no_folder_is_refused(store: Buckets, here: Path, source: str) -> None:
    with pytest.raises((NotFound, FailedPrecondition)):
        plan(store, source, "gs://data/m", delete=True)


def test_a_server_cannot_name_a_file_outside_the_destination(store: Buckets, here: Path) -> None:
    class Hostile(Buckets):
        def objects(self, bucket: str, *, after: str = "", **more: object) -> list[ObjectInfo]:
            return [] if after else [ObjectInfo("data", "m/../../evil", 1, updated)]

    updated = store.stat("gs://data/m/a").updated
    with pytest.raises(InvalidArgument, match=r"'\.\.' segment"):
        plan(object.__new__(Hostile), "gs://data/m", "dir", recursive=True)
