"""Copies of event files for TensorBoard, which reads files and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from mlengine.cli.commands.event_copies import EventCopies
from mlengine.core.resources import Object


class Played:
    """A session and its engine, over a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.read: list[str] = []
        self.engine: Any = self

    def walk(self, fetch: Any) -> Iterator[Object]:
        yield from fetch(100, "").items

    def list_objects(self, bucket: str, *, prefix: str, **_page: Any) -> Any:
        items = [
            Object(bucket=bucket, name=name, size=len(data))
            for name, data in self.objects.items()
            if name.startswith(prefix)
        ]
        return SimpleNamespace(items=items)

    def read_object(self, bucket: str, name: str) -> Iterator[bytes]:
        self.read.append(f"{bucket}/{name}")
        data = self.objects[name]
        yield from (data[:3], data[3:])


def test_event_files_are_copied_and_what_is_new_is_written_behind() -> None:
    played = Played()
    played.objects = {
        "run/train/events.out.tfevents.1": b"first", "run/model": b"m", "run-2/tfevents": b"x",
    }  # fmt: skip
    copies = EventCopies(played)  # type: ignore[arg-type]
    folder = copies.of("gs://far/run")
    path = folder / "train" / "events.out.tfevents.1"
    inode = path.stat().st_ino
    assert [p.name for p in folder.rglob("*") if p.is_file()] == [path.name]
    assert copies.of("gs://far/run") == folder
    assert played.read == ["far/run/train/events.out.tfevents.1"]
    played.objects["run/train/events.out.tfevents.1"] = b"first and second"
    copies.of("gs://far/run")
    assert path.read_bytes() == b"first and second"
    assert path.stat().st_ino == inode
