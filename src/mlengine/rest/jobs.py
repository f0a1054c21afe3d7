"""``projects.jobs``: training and batch prediction."""

from __future__ import annotations

from mlengine.core.resources import Job
from mlengine.rest.calls import Answer, Call, bare_id, page_answer

__all__ = ["cancel", "create", "get", "list_", "patch"]


def create(call: Call) -> Answer:
    """Queue a job."""
    job = call.decode(Job, at="job")
    job.job_id = bare_id(job.job_id, f"projects/{call.project}/jobs/", field="job.job_id")
    return call.engine.create_job(call.project, job)


def get(call: Call) -> Answer:
    """Describe a job."""
    return call.engine.get_job(call.project, call.ids["job"])


def list_(call: Call) -> Answer:
    """List jobs."""
    return page_answer("jobs", call.engine.list_jobs(call.project, **call.paging()))


def patch(call: Call) -> Answer:
    """Change a job's labels."""
    job = call.decode(Job, at="job")
    mask = call.query.get("updateMask", "")
    return call.engine.update_job(call.project, call.ids["job"], job, update_mask=mask)


def cancel(call: Call) -> Answer:
    """Ask a job to stop."""
    call.engine.cancel_job(call.project, call.ids["job"])
    return {}
