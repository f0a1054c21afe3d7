"""What a transaction makes of a statement that the database refuses."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mlengine.core.errors import AlreadyExists
from mlengine.store.database import Transaction

TABLE = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("size", sa.Integer, nullable=False),
)
TAKEN = AlreadyExists("There is one already.", "Choose another name.")


def test_only_a_name_that_is_taken_is_called_taken() -> None:
    with sa.create_engine("sqlite://").connect() as connection:
        TABLE.create(connection)
        tx = Transaction(connection, "2026-01-01T00:00:00Z")
        tx.insert(TABLE, taken=TAKEN, name="a", size=1)
        with pytest.raises(AlreadyExists):
            tx.insert(TABLE, taken=TAKEN, name="a", size=2)
        with pytest.raises(sa.exc.IntegrityError, match="NOT NULL"):
            tx.insert(TABLE, taken=TAKEN, name="b", size=None)
