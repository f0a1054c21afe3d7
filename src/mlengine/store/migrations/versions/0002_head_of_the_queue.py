"""The head of the queue is found without sorting all of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Order the index as the queue is: priority down, age up."""
    op.drop_index("jobs_queue", "jobs")
    op.create_index("jobs_queue", "jobs", ["state", sa.text("priority DESC"), "seq"])


def downgrade() -> None:
    """Order it upwards throughout."""
    op.drop_index("jobs_queue", "jobs")
    op.create_index("jobs_queue", "jobs", ["state", "priority", "seq"])
