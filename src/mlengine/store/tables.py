"""The tables, as the newest migration leaves them.

A resource is one JSON document (`body`) next to the columns that are searched or guarded. State,
attempt and default live in columns only: the document never repeats them, so they cannot disagree.
"""

from __future__ import annotations

import sqlalchemy as sa

__all__ = [
    "alembic_version",
    "arms",
    "buckets",
    "events",
    "facts",
    "jobs",
    "keys",
    "measurements",
    "metadata",
    "models",
    "operations",
    "outcomes",
    "policies",
    "studies",
    "traffic",
    "trials",
    "versions",
    "versions_default",
]

metadata = sa.MetaData()

# SQLite counts on for ever (AUTOINCREMENT) only in a column that is spelled INTEGER.
_Seq = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _seq() -> sa.Column[int]:
    return sa.Column("seq", _Seq, primary_key=True, autoincrement=True)


jobs = sa.Table(
    "jobs",
    metadata,
    _seq(),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("job_id", sa.Text, nullable=False),
    sa.Column("uid", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    # The uid of the job that this one is a part of; empty: it is nobody's.
    sa.Column("parent", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("project", "job_id", name="jobs_id"),
    sqlite_autoincrement=True,
)
# A uid names a folder, and some file systems take `A` and `a` for the same name.
sa.Index("jobs_uid", sa.func.lower(jobs.c.uid), unique=True)
sa.Index("jobs_newest", jobs.c.project, jobs.c.parent, jobs.c.seq)
sa.Index("jobs_queue", jobs.c.state, jobs.c.priority.desc(), jobs.c.seq)

models = sa.Table(
    "models",
    metadata,
    _seq(),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("model_id", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "model_id", name="models_id"),
    sqlite_autoincrement=True,
)
sa.Index("models_newest", models.c.project, models.c.seq)

versions = sa.Table(
    "versions",
    metadata,
    _seq(),
    sa.Column("model_seq", _Seq, sa.ForeignKey("models.seq"), nullable=False),
    sa.Column("version_id", sa.Text, nullable=False),
    sa.Column("uid", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("is_default", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("model_seq", "version_id", name="versions_id"),
    sqlite_autoincrement=True,
)
sa.Index("versions_uid", sa.func.lower(versions.c.uid), unique=True)
sa.Index("versions_newest", versions.c.model_seq, versions.c.seq)
sa.Index("versions_state", versions.c.state, versions.c.seq)
# At most one default, whatever the code does; "at least one" is the code's to keep.
# PostgreSQL's part is in `postgres.py`: naming it here imports its whole dialect at every start.
versions_default = sa.Index(
    "versions_default",
    versions.c.model_seq,
    unique=True,
    sqlite_where=versions.c.is_default,
)

traffic = sa.Table(
    "traffic",
    metadata,
    _seq(),
    sa.Column("model_seq", _Seq, sa.ForeignKey("models.seq"), nullable=False),
    sa.Column("period", sa.Integer, nullable=False),
    sa.Column("began", sa.Integer, nullable=False),
    sa.Column("idle", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("model_seq", name="traffic_model"),
    sqlite_autoincrement=True,
)

arms = sa.Table(
    "arms",
    metadata,
    _seq(),
    sa.Column("model_seq", _Seq, sa.ForeignKey("models.seq"), nullable=False),
    sa.Column("period", sa.Integer, nullable=False),
    sa.Column("version_id", sa.Text, nullable=False),
    sa.Column("parts", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("model_seq", "period", "version_id", name="arms_version"),
    sqlite_autoincrement=True,
)

# A row each: what makes a prediction count once is its id, and users are told apart by `unit`.
outcomes = sa.Table(
    "outcomes",
    metadata,
    _seq(),
    sa.Column("model_seq", _Seq, sa.ForeignKey("models.seq"), nullable=False),
    sa.Column("prediction_id", sa.Text, nullable=False),
    sa.Column("period", sa.Integer, nullable=False),
    sa.Column("version_id", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.UniqueConstraint("model_seq", "prediction_id", name="outcomes_prediction"),
    sqlite_autoincrement=True,
)

studies = sa.Table(
    "studies",
    metadata,
    _seq(),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("study_id", sa.Text, nullable=False),
    sa.Column("uid", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("last_trial", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "location", "study_id", name="studies_id"),
    sqlite_autoincrement=True,
)
sa.Index("studies_uid", sa.func.lower(studies.c.uid), unique=True)
sa.Index("studies_owner", studies.c.owner)

trials = sa.Table(
    "trials",
    metadata,
    _seq(),
    sa.Column("study_seq", _Seq, sa.ForeignKey("studies.seq"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("client_id", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("study_seq", "number", name="trials_number"),
    sqlite_autoincrement=True,
)
sa.Index("trials_state", trials.c.study_seq, trials.c.state, trials.c.number)

# Rows of their own: one more costs the same however many a trial has.
measurements = sa.Table(
    "measurements",
    metadata,
    _seq(),
    sa.Column("trial_seq", _Seq, sa.ForeignKey("trials.seq"), nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("elapsed", sa.Float, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
sa.Index(
    "measurements_order", measurements.c.trial_seq, measurements.c.step, measurements.c.elapsed
)

operations = sa.Table(
    "operations",
    metadata,
    _seq(),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("operation_id", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("done", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "operation_id", name="operations_id"),
    sqlite_autoincrement=True,
)
sa.Index("operations_newest", operations.c.project, operations.c.seq)
sa.Index("operations_open", operations.c.done, operations.c.seq)

keys = sa.Table(
    "keys",
    metadata,
    _seq(),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("revoked", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "key_id", name="keys_id"),
    sa.UniqueConstraint("digest", name="keys_digest"),
    sqlite_autoincrement=True,
)

policies = sa.Table(
    "policies",
    metadata,
    _seq(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("resource_id", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("kind", "project", "resource_id", name="policies_resource"),
    sqlite_autoincrement=True,
)

buckets = sa.Table(
    "buckets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    _seq(),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

# Alembic's own table: read without importing Alembic, which costs start-up time.
alembic_version = sa.Table(
    "alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True)
)
