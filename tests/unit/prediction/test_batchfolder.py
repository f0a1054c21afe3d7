"""What a batch prediction job fetches, when it gives up, and what is left of it when it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlengine.core.errors import Aborted
from mlengine.core.resources import Bucket, Job, PredictionInput
from mlengine.core.states import JobState
from mlengine.prediction.batchfolder import clear, give_up, local_inputs
from mlengine.storage import Buckets
from mlengine.store import JobRecord
from mlengine.training.kinds import Preparation
from tests.fakes.bucket_table import BucketTableFake

MIB = 1 << 20


@pytest.fixture
def buckets(tmp_path: Path) -> Iterator[Buckets]:
    buckets = Buckets(BucketTableFake(), tmp_path / "buckets")
    buckets.create(Bucket(name="here"))
    buckets.create(Bucket(name="away", backing="memory://away"))
    for name in ("away/in/a.jsonl", "away/in/deep/a.jsonl", "here/in/b.jsonl"):
        buckets.write(f"gs://{name}", [b"x" * 3 * MIB])
    yield buckets
    for info in buckets.glob("gs://away/**"):  # one memory for all of a process
        buckets.delete_object(info.uri)


def _preparation(folder: Path, cancelled: Callable[[], bool]) -> Preparation:
    job = Job(job_id="b", prediction_input=PredictionInput(), state=JobState.PREPARING)
    record = JobRecord(seq=1, project="p", uid="u", job=job, attempt=1)
    return Preparation(record, folder, lambda line: None, cancelled, lambda line: None)


def _after(times: int) -> Callable[[], bool]:
    """Return what says no so many times, then yes."""
    answers = iter([False] * times)
    return lambda: next(answers, True)


def test_only_what_lies_elsewhere_is_fetched(buckets: Buckets, tmp_path: Path) -> None:
    found = buckets.expand_inputs(["gs://away/in/**", "gs://here/in/*"])
    between = give_up(_preparation(tmp_path, lambda: False))
    paths = [Path(path) for path in local_inputs(buckets, found, tmp_path, between=between)]
    assert paths == [
        tmp_path / "inputs" / "00000-a.jsonl",
        tmp_path / "inputs" / "00001-a.jsonl",
        tmp_path / "buckets" / "here" / "in" / "b.jsonl",
    ]
    assert [path.stat().st_size for path in paths] == [3 * MIB] * 3


def test_a_job_that_is_cancelled_fetches_no_further(buckets: Buckets, tmp_path: Path) -> None:
    found = buckets.expand_inputs(["gs://away/in/**"])
    between = give_up(_preparation(tmp_path, _after(2)))
    with pytest.raises(Aborted, match="stopped while its files were fetched"):
        local_inputs(buckets, found, tmp_path, between=between)
    (begun,) = (tmp_path / "inputs").iterdir()
    assert begun.stat().st_size == 2 * MIB


def test_so_is_its_model(buckets: Buckets, tmp_path: Path) -> None:
    between = give_up(_preparation(tmp_path, _after(4)))
    with pytest.raises(Aborted):
        buckets.download("gs://away/in", tmp_path / "model.part", between=between)
    assert [path.name for path in (tmp_path / "model.part").rglob("*.jsonl")] == ["a.jsonl"] * 2


MADE = ["shards/rows/00000.results", "1/inputs/00000-a", "1/model.part/m", "2/inputs/00000-a",
        "2/model/m", "2/batch/output/prediction.results-00000-of-00001"]  # fmt: skip
KEPT = ["service.log.jsonl", "1/exit.json", "2/batch.json", "2/batch/progress.json", "2/work/x"]
COMPLETE = "2/batch/output/prediction.errors_stats-00000-of-00001"


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("keep_whole_output", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_nothing_but_its_records_is_left_of_a_job_that_is_over(
    tmp_path: Path, *, keep_whole_output: bool, whole: bool
) -> None:
    for name in [*MADE, *KEPT, *[COMPLETE] * whole]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    clear(tmp_path, keep_whole_output=keep_whole_output)
    # Where its bucket took nothing the output is nowhere else.
    output = [MADE[-1], COMPLETE] if keep_whole_output and whole else []
    assert _files(tmp_path) == sorted([*KEPT, *output])


@pytest.mark.parametrize("name", ["shards", "1/inputs", "1/model", "1/batch", "1/batch/output"])
def test_what_a_model_put_a_link_to_stays(tmp_path: Path, name: str) -> None:
    theirs = tmp_path / "theirs"
    for file in ("output/file", "rows/file", "file"):
        (theirs / file).parent.mkdir(parents=True, exist_ok=True)
        (theirs / file).write_text("x")
    link = tmp_path / "job" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(theirs)
    clear(tmp_path / "job", keep_whole_output=False)
    assert _files(theirs) == ["file", "output/file", "rows/file"]
