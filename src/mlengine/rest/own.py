"""The engine's own routes, under ``/api/v1``: status, buckets, objects, runtimes, what jobs say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from mlengine.core.errors import InvalidArgument
from mlengine.core.permissions import OPEN
from mlengine.core.resources import Bucket
from mlengine.core.wire import encode
from mlengine.rest import batch, keys, predictions, traffic
from mlengine.rest.calls import Answer, Call, page_answer
from mlengine.rest.routes import Route, Traffic
from mlengine.runtime import strictjson

__all__ = ["ROUTES"]

_BUCKET = "/api/v1/buckets/{bucket}"
_RUNTIME = "/api/v1/runtimes/{runtime}"


def _health(call: Call) -> Answer:
    """Tell that the engine answers. Says nothing else, because it needs no token."""
    return {"status": "ok"}


def _status(call: Call) -> Answer:
    """Tell what runs, and how much."""
    status: dict[str, object] = msgspec.to_builtins(call.engine.status())
    return status


def _create_bucket(call: Call) -> Answer:
    """Make a bucket."""
    return call.engine.create_bucket(call.decode(Bucket, at="bucket"))


def _list_buckets(call: Call) -> Answer:
    """List buckets."""
    found = [encode(bucket) for bucket in call.engine.list_buckets()]
    return {"buckets": found} if found else {}


def _delete_bucket(call: Call) -> Answer:
    """Delete a bucket; one that holds objects only with ``force=true``."""
    call.engine.delete_bucket(call.ids["bucket"], force=call.boolean("force"))
    return {}


def _list_objects(call: Call) -> Answer:
    """List a bucket's objects, sorted by name."""
    prefix = call.query.get("prefix", "")
    page = call.engine.list_objects(call.ids["bucket"], prefix=prefix, **call.page())
    return page_answer("objects", page)


def _stat_object(call: Call) -> Answer:
    """Tell an object's size and time."""
    return call.engine.stat_object(call.ids["bucket"], call.ids["object"])


def _delete_object(call: Call) -> Answer:
    """Delete an object."""
    call.engine.delete_object(call.ids["bucket"], call.ids["object"])
    return {}


def _read_object(call: Call) -> Iterator[bytes]:
    """Download an object."""
    return call.engine.read_object(call.ids["bucket"], call.ids["object"])


def _write_object(call: Call, chunks: Iterable[bytes]) -> Answer:
    """Upload an object, whole or not at all; one of that name is replaced. ``like`` names one
    whose type and metadata it gets, ``about`` says them itself, as JSON.
    """
    like, about = call.query.get("like", ""), call.query.get("about", "")
    return call.engine.write_object(
        call.ids["bucket"], call.ids["object"], chunks, like=like, about=_about(about)
    )


def _about(text: str) -> dict[str, object]:
    """Read what is said of an object."""
    try:
        found = strictjson.loads(text.encode()) if text else {}
    except strictjson.StrictJsonError:
        found = None
    if not isinstance(found, dict):
        raise InvalidArgument(
            f"{text[:80]!r} is no JSON object.", 'Send such as {"contentType": "text/html"}.',
            field="about",
        )  # fmt: skip
    return found


def _read_logs(call: Call) -> Answer:
    """Read a job's log after a cursor, waiting up to ``wait_s`` (30) seconds for something."""
    page = call.engine.read_logs(
        call.project,
        call.ids["job"],
        cursor=call.query.get("cursor", ""),
        task_name=call.query.get("taskName", ""),
        wait_s=call.seconds("wait_s"),
    )
    entries = msgspec.to_builtins(page.entries)  # as `encode`, a thousand at once
    return {"entries": entries, "cursor": page.cursor, "finished": page.finished}


def _job_metrics(call: Call) -> Answer:
    """Return what a job reported so far; ``tag`` keeps one metric (``acc`` also finds accuracy).
    Of a metric with more than 10,000 points evenly many are listed; ``points``, ``min`` and
    ``max`` are of all, and ``notes`` say what is missing. One job is read at a time: 503 asks who
    has waited ten seconds to come again.
    """
    found = call.engine.job_metrics(call.project, call.ids["job"], tag=call.query.get("tag", ""))
    return {"metrics": [encode(series) for series in found]} if found else {}


def _list_runtimes(call: Call) -> Answer:
    """List the runtimes that jobs may ask for, with what is built of them here."""
    found = [encode(runtime) for runtime in call.engine.list_runtimes()]
    return {"runtimes": found} if found else {}


def _get_runtime(call: Call) -> Answer:
    """Describe a runtime, by its name or an alias."""
    return call.engine.get_runtime(call.ids["runtime"])


def _build_runtime(call: Call) -> Answer:
    """Build a runtime's environment now; answers when it is there, which may take minutes."""
    return call.engine.build_runtime(call.ids["runtime"])


def _delete_runtime(call: Call) -> Answer:
    """Remove a runtime's environments from the disk, unless a job is using one."""
    call.engine.delete_runtime(call.ids["runtime"])
    return {}


def _collect_environments(call: Call) -> Answer:
    """Remove the environments used longest ago until ``keepBytes`` (the setting) are left."""
    freed = call.engine.collect_environments(keep_bytes=call.whole("keepBytes"))
    return {"freedBytes": str(freed)}


ROUTES: tuple[Route, ...] = (
    Route(
        id="engine.health",
        method="GET",
        path="/api/v1/health",
        permission=OPEN,
        run=_health,
        response="Health",
    ),
    Route(
        id="engine.status",
        method="GET",
        path="/api/v1/status",
        permission="mlengine.engine.get",
        verb="status",
        run=_status,
        response="EngineStatus",
    ),
    Route(
        id="engine.buckets.create",
        method="POST",
        path="/api/v1/buckets",
        permission="mlengine.buckets.create",
        verb="create_bucket",
        run=_create_bucket,
        request="Bucket",
        response="Bucket",
    ),
    Route(
        id="engine.buckets.list",
        method="GET",
        path="/api/v1/buckets",
        permission="mlengine.buckets.list",
        verb="list_buckets",
        run=_list_buckets,
        response="ListBucketsResponse",
    ),
    Route(
        id="engine.buckets.delete",
        method="DELETE",
        path=_BUCKET,
        permission="mlengine.buckets.delete",
        verb="delete_bucket",
        run=_delete_bucket,
        query=("force",),
    ),
    Route(
        id="engine.objects.list",
        method="GET",
        path=_BUCKET + "/objects",
        permission="mlengine.objects.list",
        verb="list_objects",
        run=_list_objects,
        query=("prefix", "pageSize", "pageToken"),
        response="ListObjectsResponse",
    ),
    Route(
        id="engine.objects.stat",
        method="GET",
        path=_BUCKET + "/objects/{object...}",
        permission="mlengine.objects.get",
        verb="stat_object",
        run=_stat_object,
        response="Object",
    ),
    Route(
        id="engine.objects.delete",
        method="DELETE",
        path=_BUCKET + "/objects/{object...}",
        permission="mlengine.objects.delete",
        verb="delete_object",
        run=_delete_object,
    ),
    Route(
        id="engine.objects.read",
        method="GET",
        path=_BUCKET + "/content/{object...}",
        permission="mlengine.objects.get",
        verb="read_object",
        download=_read_object,
        response="",
        traffic=Traffic.TRANSFER,
    ),
    Route(
        id="engine.objects.write",
        method="PUT",
        path=_BUCKET + "/content/{object...}",
        permission="mlengine.objects.create",
        verb="write_object",
        upload=_write_object,
        query=("like", "about"),
        response="Object",
        traffic=Traffic.TRANSFER,
    ),
    Route(
        id="engine.jobs.logs",
        method="GET",
        path="/api/v1/projects/{project}/jobs/{job}/logs",
        permission="ml.jobs.get",
        verb="read_logs",
        run=_read_logs,
        query=("cursor", "taskName", "wait_s"),
        response="LogPage",
        traffic=Traffic.LONG_POLL,
    ),
    Route(
        id="engine.jobs.metrics",
        method="GET",
        path="/api/v1/projects/{project}/jobs/{job}/metrics",
        permission="ml.jobs.get",
        verb="job_metrics",
        run=_job_metrics,
        query=("tag",),
        response="MetricsResponse",
        traffic=Traffic.LONG_POLL,
    ),
    Route(
        id="engine.runtimes.list",
        method="GET",
        path="/api/v1/runtimes",
        permission="mlengine.runtimes.list",
        verb="list_runtimes",
        run=_list_runtimes,
        response="ListRuntimesResponse",
    ),
    Route(
        id="engine.runtimes.get",
        method="GET",
        path=_RUNTIME,
        permission="mlengine.runtimes.get",
        verb="get_runtime",
        run=_get_runtime,
        response="Runtime",
    ),
    Route(
        id="engine.runtimes.build",
        method="POST",
        path=_RUNTIME + ":build",
        permission="mlengine.runtimes.build",
        verb="build_runtime",
        run=_build_runtime,
        response="Runtime",
        traffic=Traffic.TRANSFER,
    ),
    Route(
        id="engine.runtimes.delete",
        method="DELETE",
        path=_RUNTIME,
        permission="mlengine.runtimes.delete",
        verb="delete_runtime",
        run=_delete_runtime,
    ),
    Route(
        id="engine.environments.collect",
        method="POST",
        path="/api/v1/environments:collect",
        permission="mlengine.environments.collect",
        verb="collect_environments",
        run=_collect_environments,
        query=("keepBytes",),
        response="CollectEnvironmentsResponse",
    ),
    *traffic.ROUTES,
    *predictions.ROUTES,
    *keys.ROUTES,
    batch.ROUTE,
)
