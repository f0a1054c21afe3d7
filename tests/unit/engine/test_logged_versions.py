"""A version whose rows are listed has a record, or left rows behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlengine.core.errors import NotFound
from mlengine.engine.predictions import LocalPredictions
from mlengine.prediction.requestlog import tables
from mlengine.prediction.requestlog.rows import Row
from mlengine.prediction.requestlog.tables import Tables


class OneVersion:
    """A registry with a model of one version, `now`."""

    def model_record(self, project: str, model_id: str) -> None:
        pass

    def version_record(self, project: str, model_id: str, version_id: str) -> None:
        if version_id != "now":
            raise NotFound.among("version", version_id, ["now"], "See the list.")


class Reader(LocalPredictions):
    """Lists the rows below a folder."""

    _page_key = b"k" * 32

    def __init__(self, root: Path) -> None:
        registry: Any = OneVersion()
        self._models = registry
        self._tables = Tables(root, now=lambda: "2026-11-21T00:00:00Z")

    def all_of(self, **wanted: str) -> list[str]:
        """Return the ids of the rows on all pages of two."""
        found: list[str] = []
        token = ""
        while True:
            page = self.list_predictions("p", "m", page_size=2, page_token=token, **wanted)
            found += [row.prediction_id for row in page.items]
            token = page.next_page_token
            if not token:
                return found


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    day = tmp_path / "p/logs/rows/2026-11-21"
    day.mkdir(parents=True)
    versions = ["gone", "other", "gone", "gone", "other", "other"]
    rows = [
        Row(str(number), "m", version, "2026-11-21T00:00:00.000Z", "[1]")
        for number, version in enumerate(versions)
    ]
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    (day / "0-writer.jsonl").write_bytes(lines)
    return Reader(tmp_path)


@pytest.mark.parametrize("looked_bytes", [1, 1 << 20], ids=["a line a page", "all on one"])
def test_a_version_that_has_neither_a_record_nor_rows_is_refused(
    reader: Reader, looked_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_LOOKED_BYTES", looked_bytes)
    assert reader.all_of(version="now") == []
    assert reader.all_of(version="gone") == ["0", "2", "3"]
    assert len(reader.all_of()) == 6
    assert reader.all_of(since="2100-01-01") == []
    with pytest.raises(NotFound, match="The version 'nwo' was not found"):
        reader.all_of(version="nwo")
