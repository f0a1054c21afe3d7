"""A fresh store per test, on every technology; each leaves a sound database behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlengine.store import Store, open_store
from tests.conformance.store.technologies import TECHNOLOGIES, Technology
from tests.live.postgres import postgres

__all__ = ["postgres"]


@pytest.fixture(params=TECHNOLOGIES)
def technology(request: pytest.FixtureRequest) -> Technology:
    return TECHNOLOGIES[request.param](request)


@pytest.fixture
def url(technology: Technology, tmp_path: Path) -> str:
    return technology.new_url(tmp_path)


@pytest.fixture
def store(url: str, raw: sa.Engine, technology: Technology) -> Iterator[Store]:
    opened = open_store(url)
    yield opened
    opened.close()
    with raw.connect() as connection:
        assert technology.problems(connection) == []


@pytest.fixture
def raw(url: str) -> Iterator[sa.Engine]:
    """The database without the store in between."""
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()
