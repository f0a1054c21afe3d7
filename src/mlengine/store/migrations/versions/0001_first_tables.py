"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create everything."""
    _jobs()
    _models_and_versions()
    _operations_buckets_events()


def downgrade() -> None:
    """Drop everything."""
    for name in ("events", "buckets", "operations", "versions", "models", "jobs"):
        op.drop_table(name)


def _seq() -> sa.Column[int]:
    return sa.Column("seq", SEQ, primary_key=True, autoincrement=True)


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _integer(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer, nullable=False) for name in names]


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(create_constraint=False), nullable=False)


def _jobs() -> None:
    op.create_table(
        "jobs",
        _seq(),
        *_text("project", "job_id", "uid", "state"),
        *_integer("attempt", "priority", "revision"),
        *_text("body"),
        sa.UniqueConstraint("project", "job_id", name="jobs_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_uid", "jobs", [sa.text("lower(uid)")], unique=True)
    op.create_index("jobs_newest", "jobs", ["project", "seq"])
    op.create_index("jobs_queue", "jobs", ["state", "priority", "seq"])


def _models_and_versions() -> None:
    op.create_table(
        "models",
        _seq(),
        *_text("project", "model_id"),
        *_integer("revision"),
        *_text("body"),
        sa.UniqueConstraint("project", "model_id", name="models_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("models_newest", "models", ["project", "seq"])
    op.create_table(
        "versions",
        _seq(),
        sa.Column("model_seq", SEQ, sa.ForeignKey("models.seq"), nullable=False),
        *_text("version_id", "uid", "state"),
        _flag("is_default"),
        *_text("digest"),
        *_integer("revision"),
        *_text("body"),
        sa.UniqueConstraint("model_seq", "version_id", name="versions_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("versions_uid", "versions", [sa.text("lower(uid)")], unique=True)
    op.create_index("versions_newest", "versions", ["model_seq", "seq"])
    op.create_index("versions_state", "versions", ["state", "seq"])
    default = sa.text("is_default")
    op.create_index(
        "versions_default",
        "versions",
        ["model_seq"],
        unique=True,
        sqlite_where=default,
        postgresql_where=default,
    )


def _operations_buckets_events() -> None:
    op.create_table(
        "operations",
        _seq(),
        *_text("project", "operation_id", "subject"),
        _flag("done"),
        *_text("body"),
        sa.UniqueConstraint("project", "operation_id", name="operations_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("operations_newest", "operations", ["project", "seq"])
    op.create_index("operations_open", "operations", ["done", "seq"])
    op.create_table("buckets", sa.Column("name", sa.Text, primary_key=True), *_text("body"))
    op.create_table(
        "events",
        _seq(),
        *_text("time", "project", "resource", "kind", "detail"),
        sqlite_autoincrement=True,
    )
