"""Which other jobs may have written what lies in a job's directory."""

from __future__ import annotations

import pytest

from mlengine.core.resources import Job, TrainingInput
from mlengine.store import JobRecord
from mlengine.training.neighbours import neighbours


def job(job_id: str, job_dir: str, *, project: str = "p", parent: str = "") -> JobRecord:
    return JobRecord(
        seq=1,
        project=project,
        uid=f"uid-{job_id}",
        job=Job(job_id=job_id, training_input=TrainingInput(job_dir=job_dir)),
        attempt=1,
        parent=parent,
    )


@pytest.mark.parametrize(
    ("own", "theirs", "folder"),
    [
        ("gs://mine/same", "gs://mine/same/", "."),
        ("gs://mine/same/", "gs://mine/same/b/c", "b/c"),
        ("gs://mine/", "gs://mine/b", "b"),
        ("gs://mine/a/b", "gs://mine", "."),
        ("/data/out", "/data/out/b", "b"),
        ("gs://mine/same", "gs://mine/same_2", None),
        ("gs://mine/a", "gs://yours/a", None),
        ("gs://mine/a", "/mine/a", None),
        ("", "gs://mine/a", None),
        ("gs://mine/a", "", None),
    ],
)
def test_a_neighbour_s_directory_is_or_holds_or_lies_below_the_job_s(
    own: str, theirs: str, folder: str | None
) -> None:
    found = [(n.name, str(n.folder)) for n in neighbours(job("a", own), [job("b", theirs)])]
    assert found == ([] if folder is None else [("the job b", folder)])


def test_neither_it_nor_its_tuning_job_nor_another_s_trials_are_neighbours() -> None:
    tuning, trial = job("t", "gs://mine/t"), job("t/1", "gs://mine/t/1", parent="uid-t")
    batch = JobRecord(seq=1, project="p", uid="x", job=Job(job_id="x"), attempt=1)
    assert neighbours(trial, [trial, tuning, batch]) == []
    (found,) = neighbours(job("a", "gs://mine", project="q"), [trial, tuning])
    assert found.name == "the job t of the project p"


def test_only_what_lies_in_the_shared_part_may_be_the_neighbour_s() -> None:
    (below,) = neighbours(job("a", "gs://mine"), [job("b", "gs://mine/b")])
    assert [below.may_own(path) for path in ("b", "b/model.pkl", "bc/x", ".")] == [
        True, True, False, False,
    ]  # fmt: skip
    (same,) = neighbours(job("a", "gs://mine"), [job("b", "gs://mine")])
    assert same.may_own("model.pkl") and same.may_own(".")
