"""What must hold of an engine once all is quiet, whatever was killed before.

`check` compares what clients were told (`chaos.Load`) with records, event table, logs, folders and
the process table; every complaint is one line of what it returns.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sqlite3

from mlengine.core.states import JobState
from mlengine.store.jobs import may_take
from tests.faults.chaos import LINES, TERMINAL, Load, replicas_of
from tests.live.engines import LiveEngine, P

__all__ = ["check", "history"]


def check(engine: LiveEngine, load: Load, hit_jobs: set[str]) -> list[str]:
    """Return what does not hold once the engine is quiet."""
    wrong = list(load.broken)
    with contextlib.closing(sqlite3.connect(engine.home / "engine.db")) as database:
        (sound,) = database.execute("PRAGMA integrity_check").fetchone()
        wrong += [] if sound == "ok" else [f"integrity_check: {sound}"]
        rows = database.execute("SELECT job_id, uid, state FROM jobs").fetchall()
        wrong += history(database)
    states = {job_id: state for job_id, _uid, state in rows}
    wrong += [f"{j} was acknowledged and is lost" for j in load.created if j not in states]
    ghosts = set(states) - {f"job_{n}" for n in range(len(load.created) + 1)}
    wrong += [f"{j} was never created" for j in ghosts]
    folders = {path.name for path in (engine.home / "jobs").iterdir()}
    wrong += [f"the folder {f} is of no job" for f in folders - {uid for _j, uid, _s in rows}]
    for job_id, uid, state in rows:
        wrong += _job(engine, load, job_id, state, hit=uid in hit_jobs)
    wrong += [f"{uid}: process {p.pid} was left" for p, uid in replicas_of(engine)]
    wrong += _models(engine)
    return wrong


def _job(engine: LiveEngine, load: Load, job_id: str, state: str, *, hit: bool) -> list[str]:
    wrong = []
    job = engine.job(job_id)
    if state not in TERMINAL:
        return [f"{job_id} is stuck in {state}"]
    if state == "FAILED" and not hit:
        wrong.append(f"{job_id} failed, yet nothing of it was killed: {job.error_message}")
    asked_s = load.cancelled.get(job_id)
    if state == "CANCELLED" and job_id not in load.asked and not hit:
        wrong.append(f"{job_id} is CANCELLED, but nobody asked")
    if asked_s is not None and state != "CANCELLED" and _seconds(job.end_time) > asked_s:
        wrong.append(f"{job_id} was cancelled and ended {state} after that")
    whole = [f"line {n}" for n in range(LINES)]
    runs = _runs(engine, job_id)
    if any(run != whole[: len(run)] for run in runs) or (
        state == "SUCCEEDED" and whole not in runs
    ):
        wrong.append(f"{job_id} ({state}) has the lines {runs}")
    if len(runs) > 1 and not (hit and job.options and len(runs) <= job.options.max_retries + 1):
        wrong.append(f"{job_id} was started {len(runs)} times")
    return wrong


def _runs(engine: LiveEngine, job_id: str) -> list[list[str]]:
    """Return what the master printed, attempt by attempt."""
    runs: list[list[str]] = []
    cursor, finished = "", False
    while not finished:
        page = engine.client.read_logs(P, job_id, cursor=cursor, task_name="master-replica-0")
        cursor, finished = page.cursor, page.finished
        for line in (entry.message for entry in page.entries):
            if line == "line 0" or (line.startswith("line ") and not runs):
                runs.append([])
            if line.startswith("line "):
                runs[-1].append(line)
    return runs


def history(database: sqlite3.Connection) -> list[str]:
    """Check the event table: every job starts QUEUED and moves by lawful steps only."""
    wrong = []
    at: dict[str, tuple[JobState, int]] = {}
    query = "SELECT resource, kind, detail FROM events WHERE kind LIKE 'job.%' ORDER BY seq"
    for name, kind, text in database.execute(query):
        detail = json.loads(text)
        if kind == "job.created":
            wrong += [f"{name} was created twice"] if name in at else []
            at[name] = (JobState.QUEUED, 0)
        elif kind == "job.moved":
            state, attempt = at[name]
            to = JobState(detail["to"])
            lawful = may_take(state, to, attempt=attempt, new_attempt=detail["attempt"])
            if detail["from"] != state or not lawful:
                wrong.append(f"{name} was {state} of attempt {attempt}, then {detail}")
            at[name] = (to, detail["attempt"])
    return wrong


def _models(engine: LiveEngine) -> list[str]:
    wrong = []
    for operation in engine.client.list_operations(P, page_size=100).items:
        if not operation.done:
            wrong.append(f"{operation.name} never ended")
    versions = engine.client.list_versions(P, "m", page_size=100).items
    if [v.state for v in versions if v.is_default] != ["READY"]:
        wrong.append(f"defaults: {[(v.name, v.state, v.is_default) for v in versions]}")
    for version in versions:
        if version.state not in ("READY", "FAILED"):
            wrong.append(f"{version.name} is stuck in {version.state}")
    return wrong


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()
