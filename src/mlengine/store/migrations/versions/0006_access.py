"""Keys, and who has which role over a model, job or operation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "keys",
        _seq(),
        *_text("project", "key_id", "digest"),
        sa.Column("revoked", sa.Boolean(create_constraint=False), nullable=False),
        *_text("body"),
        sa.UniqueConstraint("project", "key_id", name="keys_id"),
        sa.UniqueConstraint("digest", name="keys_digest"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "policies",
        _seq(),
        *_text("kind", "project", "resource_id"),
        sa.Column("revision", sa.Integer, nullable=False),
        *_text("body"),
        sa.UniqueConstraint("kind", "project", "resource_id", name="policies_resource"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Drop them; only the engine's own token counts again."""
    for name in ("policies", "keys"):
        op.drop_table(name)


def _seq() -> sa.Column[int]:
    return sa.Column("seq", SEQ, primary_key=True, autoincrement=True)


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]
