from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.databaseurl import is_sqlite, readable_name, sqlite_file, sqlite_url
from mlengine.core.errors import InvalidArgument


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_a_file_of_any_name_is_found_again(name: bytes) -> None:
    file = Path("/homes") / os.fsdecode(name)
    url = sqlite_url(file)
    assert is_sqlite(url)
    assert sqlite_file(url) == file


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////h/engine.db", "/h/engine.db"),
        ("sqlite+pysqlite:////h/engine.db", "/h/engine.db"),
        ("sqlite:///beside.db", "beside.db"),
        ("sqlite:////h/my é#&.db", "/h/my é#&.db"),  # written by people
        ("sqlite:////h/a%2Fb%3Fc%25.db", "/h/a/b?c%.db"),
    ],
)
def test_the_file_that_a_url_names(url: str, path: str) -> None:
    assert sqlite_file(url) == Path(path)


@pytest.mark.parametrize(
    "url",
    ["sqlite", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:////h/e.db?mode=ro",
     "sqlite:////h/q?x/e.db", "sqlite://home/me/e.db"],
)  # fmt: skip
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    assert is_sqlite(url)
    for ask in (sqlite_file, readable_name):
        with pytest.raises(InvalidArgument, match=r"names no file.*%3F stands for \?"):
            ask(url)
