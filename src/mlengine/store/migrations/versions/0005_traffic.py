"""Who gets a model's predictions, what was counted of each version, and the outcomes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "traffic",
        _seq(),
        _model(),
        *_integer("period", "began"),
        sa.Column("idle", sa.Boolean(create_constraint=False), nullable=False),
        *_text("body"),
        sa.UniqueConstraint("model_seq", name="traffic_model"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "arms",
        _seq(),
        _model(),
        *_integer("period"),
        *_text("version_id"),
        *_integer("parts"),
        *_text("body"),
        sa.UniqueConstraint("model_seq", "period", "version_id", name="arms_version"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "outcomes",
        _seq(),
        _model(),
        *_text("prediction_id"),
        *_integer("period"),
        *_text("version_id", "unit"),
        sa.Column("value", sa.Double, nullable=False),
        sa.UniqueConstraint("model_seq", "prediction_id", name="outcomes_prediction"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Drop them; every model's default version answers all of its predictions again."""
    for name in ("outcomes", "arms", "traffic"):
        op.drop_table(name)


def _seq() -> sa.Column[int]:
    return sa.Column("seq", SEQ, primary_key=True, autoincrement=True)


def _model() -> sa.Column[int]:
    return sa.Column("model_seq", SEQ, sa.ForeignKey("models.seq"), nullable=False)


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _integer(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer, nullable=False) for name in names]
