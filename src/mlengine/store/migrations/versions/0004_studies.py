"""Studies, their trials and what was measured of those; and jobs that belong to a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables, and the column that says whose child a job is."""
    op.add_column("jobs", sa.Column("parent", sa.Text, nullable=False, server_default=""))
    _find_parents_again()
    op.drop_index("jobs_newest", "jobs")
    op.create_index("jobs_newest", "jobs", ["project", "parent", "seq"])
    _studies_and_trials()
    op.create_table(
        "measurements",
        _seq(),
        sa.Column("trial_seq", SEQ, sa.ForeignKey("trials.seq"), nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("elapsed", sa.Float, nullable=False),
        *_text("body"),
        sqlite_autoincrement=True,
    )
    op.create_index("measurements_order", "measurements", ["trial_seq", "step", "elapsed"])


def downgrade() -> None:
    """Drop them; a job that belongs to another becomes one like any other."""
    for name in ("measurements", "trials", "studies"):
        op.drop_table(name)
    # The newer code's trigger looks at the column; the older code does not know it.
    on = "" if op.get_context().dialect.name == "sqlite" else " ON jobs"
    op.execute("DROP TRIGGER IF EXISTS jobs_family" + on)
    op.drop_index("jobs_newest", "jobs")
    op.create_index("jobs_newest", "jobs", ["project", "seq"])
    op.drop_column("jobs", "parent")


def _seq() -> sa.Column[int]:
    return sa.Column("seq", SEQ, primary_key=True, autoincrement=True)


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _integer(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer, nullable=False) for name in names]


def _find_parents_again() -> None:
    """Name the parents of children that went through an older release: theirs is in their id."""
    op.execute(
        "UPDATE jobs SET parent = COALESCE((SELECT p.uid FROM jobs p WHERE p.project = jobs.project"
        " AND jobs.job_id LIKE '%/%' AND substr(jobs.job_id, 1, length(p.job_id) + 1) ="
        " p.job_id || '/'), '') WHERE job_id LIKE '%/%'"
    )


def _studies_and_trials() -> None:
    op.create_table(
        "studies",
        _seq(),
        *_text("project", "location", "study_id", "uid", "owner", "state"),
        *_integer("last_trial", "revision"),
        *_text("body"),
        sa.UniqueConstraint("project", "location", "study_id", name="studies_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("studies_uid", "studies", [sa.text("lower(uid)")], unique=True)
    op.create_index("studies_owner", "studies", ["owner"])
    op.create_table(
        "trials",
        _seq(),
        sa.Column("study_seq", SEQ, sa.ForeignKey("studies.seq"), nullable=False),
        *_integer("number"),
        *_text("state", "client_id"),
        *_integer("revision"),
        *_text("body"),
        sa.UniqueConstraint("study_seq", "number", name="trials_number"),
        sqlite_autoincrement=True,
    )
    op.create_index("trials_state", "trials", ["study_seq", "state", "number"])
