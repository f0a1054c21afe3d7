"""`mlengine storage`, over the verbs of an engine."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.cli.objects import EngineObjects
from mlengine.core.resources import Bucket
from mlengine.storage.paths import BucketPath
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run

NAMES = st.sets(st.text("ab/-", min_size=1, max_size=4), max_size=30)


@pytest.fixture
def bucket(engine: FakeEngine) -> FakeEngine:
    engine.create_bucket(Bucket(name="data"))
    for name in ("a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv"):
        engine.objects["data", name] = name.encode()
    return engine


def test_ls_warns_of_keys_that_nothing_listed_has(run: Run, bucket: FakeEngine) -> None:
    done = run("storage", "ls", "-r", "gs://data", "--filter=colour=red")
    assert done.out == ""
    assert "--filter keys were not present in any resource: colour" in done.err


def test_buckets_are_made_listed_described_and_deleted(run: Run, engine: FakeEngine) -> None:
    assert run("storage", "buckets", "create", "gs://data") == (0, "", "Created gs://data/\n")
    assert run("storage", "buckets", "list").out == (
        "NAME  CREATE_TIME\ndata  2018-03-02T06:50:06\n"
    )
    assert run("storage", "buckets", "describe", "data").out == (
        "createTime: '2018-03-02T06:50:06Z'\nname: data\n"
    )
    assert run("storage", "ls").out == "gs://data/\n"
    assert "Did you mean 'data'?" in run("storage", "buckets", "describe", "dat").err
    engine.objects["data", "x"] = b""
    assert run("storage", "buckets", "delete", "data").code == 1
    assert run("storage", "buckets", "delete", "data", "--force").code == 0
    assert run("storage", "buckets", "list").err == "Listed 0 items.\n"


def test_mb_and_rb_are_gsutils_words_for_the_same(run: Run, engine: FakeEngine) -> None:
    line = "storage mb -p census -l us-central1 -c standard gs://data gs://more/"
    assert run(*line.split()) == (0, "", "Created gs://data/\nCreated gs://more/\n")
    assert run("storage", "buckets", "create", "-l", "us-central1", "third").code == 0
    assert sorted(engine.buckets) == ["data", "more", "third"]
    engine.objects["data", "x"] = b""
    assert run("storage", "rb", "gs://data").code == 1
    assert run("storage", "rb", "gs://more", "gs://third").err == (
        "Deleted gs://more/\nDeleted gs://third/\n"
    )
    assert sorted(engine.buckets) == ["data"]


@pytest.mark.parametrize("flags", ["-m", "-q", "-mq", "-m -q -o GSUtil:parallel_process_count=1"])
def test_gsutils_global_flags_stand_before_the_command(
    run: Run, bucket: FakeEngine, flags: str, tmp_path: Path
) -> None:
    done = run("storage", *flags.split(), "cp", "-r", "gs://data/sub", str(tmp_path / "new"))
    assert (done.code, done.out) == (0, "") and (tmp_path / "new/deep/d.csv").exists()
    done = run("storage", *flags.split(), "rm", "gs://data/*.csv")
    told = "" if "q" in flags else "Removing gs://data/a.csv\nRemoving gs://data/b.csv\n"
    assert done == (0, "", told + "Removed 2 objects.\n")


@pytest.mark.parametrize(
    "setting", ["Credentials:gs_service_key_file=k", "GSUtil:encryption_key=k"]
)
def test_a_setting_that_would_change_what_is_done_is_refused(
    run: Run, bucket: FakeEngine, setting: str
) -> None:
    done = run("storage", "-o", setting, "ls")
    assert (done.code, done.out) == (2, "") and setting in done.err and "Leave it out" in done.err


def test_ls_shows_folders_or_everything(run: Run, bucket: FakeEngine) -> None:
    assert run("storage", "ls", "gs://data").out == (
        "gs://data/a.csv\ngs://data/b.csv\ngs://data/sub/\n"
    )
    assert run("storage", "ls", "-r", "gs://data/sub").out == (
        "gs://data/sub/c.csv\ngs://data/sub/deep/d.csv\n"
    )
    assert run("storage", "ls", "-l", "gs://data/a.csv").out == (
        "           5  2018-03-02T06:50:06Z  gs://data/a.csv\n"
    )
    assert run("storage", "ls", "gs://data/*.csv", "--format=value(size)").out == "5\n5\n"


def test_ls_takes_gsutils_words_for_all_generations_and_for_all_that_is_known(
    run: Run, bucket: FakeEngine
) -> None:
    assert run("storage", "ls", "-al", "gs://data") == run("storage", "ls", "-l", "gs://data")
    told = run("storage", "stat", "gs://data/a.csv", "gs://data/b.csv").out
    assert run("storage", "ls", "-L", "gs://data") == (0, told + "gs://data/sub/\n", "")
    assert run("storage", "ls", "-L", "-a", "gs://data/a.csv", "--filter=size>9").out == ""


def test_ls_lists_several_places_in_the_order_in_which_they_were_given(
    run: Run, bucket: FakeEngine
) -> None:
    done = run("storage", "ls", "-r", "-l", "gs://data/sub/deep", "gs://data/a.csv")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "          14  2018-03-02T06:50:06Z  gs://data/sub/deep/d.csv\n"
        "           5  2018-03-02T06:50:06Z  gs://data/a.csv\n"
    )
    missing = run("storage", "ls", "gs://data/a.csv", "gs://data/none")
    assert missing.code == 1 and "gs://data/none" in missing.err


def test_cp_copies_there_and_back(run: Run, bucket: FakeEngine, tmp_path: Path) -> None:
    done = run("storage", "cp", "-r", "gs://data/sub", str(tmp_path / "new"))
    assert done == (0, "", "Copied 2 files (23 B).\n")
    assert (tmp_path / "new" / "deep" / "d.csv").read_bytes() == b"sub/deep/d.csv"
    done = run("storage", "cp", str(tmp_path / "new" / "c.csv"), "gs://data/copy.csv")
    assert done.code == 0 and bucket.objects["data", "copy.csv"] == b"sub/c.csv"


def test_cat_prints_the_bytes(run: Run, bucket: FakeEngine) -> None:
    assert run("storage", "cat", "gs://data/*.csv").out == "a.csvb.csv"
    bucket.objects["data", "big"] = big = b"0123456789" * 40_000
    assert run("storage", "cat", "gs://data/big").out == big.decode()


def test_cp_copies_from_and_to_the_standard_streams(
    run: Run, bucket: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("storage", "cp", "gs://data/a.csv", "gs://data/sub/c.csv", "-")
    assert done == (0, "a.csvsub/c.csv", "Copied 2 files (14 B).\n")
    assert run("storage", "cp", "gs://data/*.csv", "-").out == "a.csvb.csv"
    done = run("storage", "cp", "-", "gs://data/new", stdin="piped\n")
    assert done == (0, "", "Copied 1 file (6 B).\n")
    assert bucket.objects["data", "new"] == b"piped\n"
    done = run("storage", "cp", "-n", "-", "gs://data/new", stdin="other")
    assert "Skipping existing item: gs://data/new" in done.err
    assert bucket.objects["data", "new"] == b"piped\n"
    assert [*tmp_path.glob("-")] == []


def test_all_bytes_go_through_the_standard_streams(
    run: Run, bucket: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.objects["data", "odd"] = odd = bytes(range(256)) * 9000
    out = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out, "ascii"))
    assert run("storage", "cp", "gs://data/odd", "-").code == 0
    assert out.getvalue() == odd


@pytest.mark.parametrize(
    "line",
    ["cp -r gs://data/sub -", "cp -r - gs://data/x", "cp - gs://data/", "cp - a gs://data/x/",
     "cp - -", "mv - gs://data/x", "mv gs://data/a.csv -"],
)  # fmt: skip
def test_a_stream_that_makes_no_sense_is_refused(
    run: Run, bucket: FakeEngine, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = dict(bucket.objects)
    done = run("storage", *line.split(), stdin="piped")
    assert (done.code, done.out) == (1, "") and done.err.startswith("ERROR: ")
    assert bucket.objects == before and [*tmp_path.glob("-")] == []


def test_no_clobber_leaves_what_is_there(run: Run, bucket: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("newer")
    (tmp_path / "c.csv").write_text("new")
    files = [str(tmp_path / name) for name in ("a.csv", "c.csv")]
    done = run("storage", "cp", "-n", *files, "gs://data/")
    assert done == (0, "", "Skipping existing item: gs://data/a.csv\nCopied 1 file (3 B).\n")
    assert (bucket.objects["data", "a.csv"], bucket.objects["data", "c.csv"]) == (b"a.csv", b"new")
    done = run("storage", "mv", "--no-clobber", "gs://data/a.csv", str(tmp_path / "c.csv"))
    assert done.code == 0 and "Moved 0 files" in done.err
    assert ("data", "a.csv") in bucket.objects and (tmp_path / "c.csv").read_text() == "new"


@pytest.mark.parametrize("flag", ["-r2-4", "-r -3", "--range=2-"])
def test_cat_prints_part_of_each(run: Run, bucket: FakeEngine, flag: str) -> None:
    assert run("storage", "cat", *flag.split(), "gs://data/a.csv").out == "csv"


def test_cat_says_what_is_what(run: Run, bucket: FakeEngine) -> None:
    assert run("storage", "cat", "-h", "gs://data/[ab].csv").code == 1  # sets are no wildcards
    done = run("storage", "cat", "-h", "gs://data/*.csv")
    assert done.out == "==> gs://data/a.csv <==\na.csv==> gs://data/b.csv <==\nb.csv"
    refused = run("storage", "cat", "-r", "x", "gs://data/a.csv")
    assert (refused.code, refused.out) == (1, "") and "'x' names no bytes" in refused.err


def test_h_means_sizes_for_people(run: Run, bucket: FakeEngine) -> None:
    bucket.objects["data", "sub/big"] = b"x" * 1536
    assert run("storage", "ls", "-lh", "gs://data/sub/big").out == (
        "     1.5 KiB  2018-03-02T06:50:06Z  gs://data/sub/big\n"
    )
    assert run("storage", "du", "-sh", "gs://data/sub").out == "1.5 KiB      gs://data/sub\n"
    assert "Usage: mlengine storage ls" in run("storage", "ls", "--help").out
    assert "Usage: mlengine storage cp" in run("storage", "cp", "-h").out


def test_ls_knows_buckets_by_wildcards_and_folders_by_themselves(
    run: Run, bucket: FakeEngine
) -> None:
    bucket.create_bucket(Bucket(name="audio"))
    bucket.objects["audio", "x.csv"] = b""
    assert run("storage", "ls", "gs://").out == "gs://audio/\ngs://data/\n"
    assert run("storage", "ls", "gs://au*").out == "gs://audio/x.csv\n"
    assert run("storage", "ls", "-d", "gs://au*", "gs://data/sub").out == (
        "gs://audio/\ngs://data/sub/\n"
    )
    assert run("storage", "ls", "gs://*a*/*.csv").out == (
        "gs://audio/x.csv\ngs://data/a.csv\ngs://data/b.csv\n"
    )
    for uri in ("gs://none*", "gs://au*/none"):
        done = run("storage", "ls", uri)
        assert (done.code, done.out) == (1, "") and f"{uri} matches no " in done.err
    assert run("storage", "ls", "-d", "gs://none").code == 1


def test_stat_tells_by_its_exit_whether_an_object_is_there(run: Run, bucket: FakeEngine) -> None:
    assert run("storage", "stat", "gs://data/a.csv").out == (
        "gs://data/a.csv:\n    Update time:            2018-03-02T06:50:06Z\n"
        "    Content-Length:         5\n"
    )
    assert run("storage", "-q", "stat", "gs://data/*.csv") == (0, "", "")
    assert run("storage", "stat", "gs://data/*.csv", "--format=value(size)").out == "5\n5\n"
    for uri in ("gs://data/none", "gs://data/sub", "gs://data"):
        assert run("storage", "stat", uri).code == 1


def test_rsync_leaves_alone_what_is_excluded(run: Run, bucket: FakeEngine, tmp_path: Path) -> None:
    here = tmp_path / "here"
    flags = ["-r", "-x", r".*d[.]csv$", "--exclude=a,nothing"]
    assert run("storage", "rsync", *flags, "gs://data", str(here)).err == (
        "Copied 2 files (14 B).\n"
    )
    assert sorted(p.name for p in here.rglob("*.csv")) == ["b.csv", "c.csv"]
    done = run("storage", "rsync", "-d", *flags, str(here), "gs://data")
    assert done == (0, "", "Copied 0 files (0 B), removed 0.\n")
    assert run("storage", "rsync", "-x", "*", str(here), "gs://data").code == 1


def test_rm_removes_what_is_named(run: Run, bucket: FakeEngine) -> None:
    assert run("storage", "rm", "gs://data/sub").code == 1
    assert run("storage", "rm", "-r", "gs://data/sub").err.endswith("Removed 2 objects.\n")
    assert sorted(bucket.objects) == [("data", "a.csv"), ("data", "b.csv")]


@pytest.mark.parametrize("uri", ["gs://data/none", "gs://data/none*", "gs://none", "gs://none/*"])
def test_rm_with_f_does_not_mind_that_nothing_is_there(
    run: Run, bucket: FakeEngine, uri: str
) -> None:
    assert run("storage", "rm", "-r", uri).code == 1
    assert run("storage", "rm", "-rf", uri, "gs://data/sub").err.endswith("Removed 2 objects.\n")
    assert run("storage", "rm", "-f", uri) == (0, "", "Removed 0 objects.\n")


def test_rm_with_r_takes_a_bucket_that_is_named_whole(run: Run, bucket: FakeEngine) -> None:
    bucket.create_bucket(Bucket(name="empty"))
    assert run("storage", "rm", "gs://data").code == 1
    assert run("storage", "rm", "-r", "gs://data/**").err.endswith("Removed 4 objects.\n")
    assert sorted(bucket.buckets) == ["data", "empty"]
    bucket.objects["data", "new"] = b""
    assert run("storage", "rm", "-r", "gs://data", "gs://empty/").err == (
        "Removing gs://data/new\nRemoving gs://data/\nRemoving gs://empty/\n"
        "Removed 1 object and 2 buckets.\n"
    )
    assert (bucket.buckets, bucket.objects) == ({}, {})


def test_a_bucket_that_is_written_to_meanwhile_stays(run: Run, bucket: FakeEngine) -> None:
    def written_meanwhile(name: str, *, force: bool = False) -> None:
        bucket.objects[name, "late"] = b""
        FakeEngine.delete_bucket(bucket, name, force=force)

    bucket.delete_bucket = written_meanwhile  # type: ignore[method-assign]
    done = run("storage", "rm", "-r", "gs://data")
    assert done.code == 1 and "not empty" in done.err
    assert bucket.objects == {("data", "late"): b""}


def test_mv_moves_objects_and_folders(run: Run, bucket: FakeEngine, tmp_path: Path) -> None:
    assert run("storage", "mv", "gs://data/a.csv", "gs://data/new.csv") == (
        0, "", "Moved 1 file (5 B).\n",
    )  # fmt: skip
    assert run("storage", "mv", "gs://data/sub", str(tmp_path / "sub")).code == 0
    assert sorted(name for _bucket, name in bucket.objects) == ["b.csv", "new.csv"]
    assert (
        run("storage", "mv", str(tmp_path / "sub"), "gs://data/b.csv", "gs://data/all/").code == 0
    )
    assert {name: data for (_bucket, name), data in bucket.objects.items()} == {
        "new.csv": b"a.csv", "all/b.csv": b"b.csv",
        "all/sub/c.csv": b"sub/c.csv", "all/sub/deep/d.csv": b"sub/deep/d.csv",
    }  # fmt: skip
    assert not (tmp_path / "sub/c.csv").exists()


def test_rsync_copies_what_differs_and_deletes_when_told(
    run: Run, bucket: FakeEngine, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    assert run("storage", "-m", "rsync", "gs://data", str(here)).err == "Copied 2 files (10 B).\n"
    assert run("storage", "rsync", "-r", "gs://data", str(here)).err == "Copied 2 files (23 B).\n"
    (here / "a.csv").write_bytes(b"A.csv")
    (here / "b.csv").unlink()
    done = run("storage", "rsync", "-r", str(here), "gs://data")
    assert done == (0, "", "Copied 1 file (5 B).\n")
    assert bucket.objects["data", "a.csv"] == b"A.csv" and ("data", "b.csv") in bucket.objects
    done = run("storage", "rsync", "-r", "-d", str(here), "gs://data")
    assert done == (0, "", "Removing gs://data/b.csv\nCopied 0 files (0 B), removed 1.\n")
    assert ("data", "b.csv") not in bucket.objects
    assert run("storage", "rsync", "-r", "-d", "gs://data/none", str(here)).code == 1
    assert (here / "a.csv").exists()


def test_rsync_shows_on_a_terminal_which_file_it_compares(
    run: Run, bucket: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("storage", "rsync", "-r", "gs://data", str(tmp_path / "here"))
    assert run(*words).code == 0
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    done = run(*words)
    assert "      4  Comparing sub/deep/d.csv" in done.err
    assert done.err.endswith("\r\033[KCopied 0 files (0 B).\n")
    assert "Comparing" not in run("storage", "-q", *words[1:]).err


@pytest.mark.parametrize(
    ("how", "left", "again"),
    [
        ("cp -r", 4, "'cp -n' or 'rsync' copies the rest"),
        ("mv", 3, "the same command moves the rest"),
        ("rsync -r", 4, "the same command goes on from there"),
    ],
)
def test_who_interrupts_hears_how_far_it_came(
    run: Run, bucket: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    how: str, left: int, again: str,
) -> None:  # fmt: skip
    read = bucket.read_object

    def interrupted(bucket: str, name: str) -> Iterator[bytes]:
        if name == "b.csv":
            raise KeyboardInterrupt
        return read(bucket, name)

    monkeypatch.setattr(bucket, "read_object", interrupted)
    (tmp_path / "here").mkdir()
    done = run("storage", *how.split(), "gs://data", str(tmp_path / "here"))
    assert done.code == 130
    assert f"1 file was done (5 B); {again}.\n" in done.err
    assert len(bucket.objects) == left


def test_du_ends_with_the_total(run: Run, bucket: FakeEngine) -> None:
    assert run("storage", "du", "gs://data").out == (
        "5            gs://data/a.csv\n5            gs://data/b.csv\n"
        "23           gs://data/sub/\n33           gs://data/\n"
    )
    assert run("storage", "du", "-s", "gs://data", "--readable-sizes").out == (
        "33 B         gs://data/\n"
    )
    assert run("storage", "du", "-sc", "gs://data/a.csv", "gs://data/sub").out == (
        "5            gs://data/a.csv\n23           gs://data/sub\n28           total\n"
    )


@pytest.mark.parametrize("uri", ["gs://data/../x", "gs://nope/x", "s3://data/x", "gs://data/no"])
def test_a_place_that_is_none_is_a_clear_error(run: Run, bucket: FakeEngine, uri: str) -> None:
    done = run("storage", "cat", uri)
    assert (done.code, done.out) == (1, "") and "Traceback" not in done.err
    assert done.err.startswith("ERROR: (mlengine.storage.cat) ")


@given(NAMES, st.lists(st.tuples(st.text("ab/-", max_size=4), st.integers(1, 5)), max_size=6))
def test_any_walk_sees_what_a_fresh_listing_would(
    names: set[str], looks: list[tuple[str, int]]
) -> None:
    engine = FakeEngine()
    engine.create_bucket(Bucket(name="data"))
    for name in names:
        engine.objects["data", name] = b""
    store = EngineObjects(engine)
    for after, limit in looks:
        seen = [info.name for info in store.objects("data", after=after, limit=limit)]
        assert seen == [name for name in sorted(names) if name > after][:limit]


def test_an_object_is_read_in_pieces_of_any_size() -> None:
    engine = FakeEngine()
    engine.create_bucket(Bucket(name="data"))
    engine.objects["data", "x"] = body = bytes(range(256)) * 1000
    with EngineObjects(engine).open_read(BucketPath("data", "x")) as file:
        assert file.read(10) + file.read(100_000) + file.read() == body


@pytest.mark.parametrize("how", ["cp", "mv", "rsync -r"])
def test_what_is_said_of_an_object_goes_along_from_bucket_to_bucket(
    run: Run, bucket: FakeEngine, tmp_path: Path, how: str
) -> None:
    bucket.create_bucket(Bucket(name="more"))
    source = "gs://data/sub/deep" + ("" if "rsync" in how else "/d.csv")
    assert run("storage", *how.split(), source, "gs://more").code == 0
    assert bucket.likes == {"gs://more/d.csv": "gs://data/sub/deep/d.csv"}
    (tmp_path / "here").write_text("of no bucket")
    assert run("storage", "cp", str(tmp_path / "here"), "gs://more").code == 0
    assert [*bucket.likes] == ["gs://more/d.csv"]


HEADERS = ["-h", "Content-Type:text/html", "-h", "X-Goog-Meta-Run: 7"]
SAID = {"contentType": "text/html", "metadata": {"run": "7"}}


@pytest.mark.parametrize("how", ["cp", "cp -", "mv", "rsync", "cp gs://data/a.csv"])
def test_headers_say_something_of_what_is_written(
    run: Run, bucket: FakeEngine, tmp_path: Path, how: str
) -> None:
    bucket.create_bucket(Bucket(name="more"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here/page").write_text("<html>")
    words = how.split() if " " in how else [how, str(tmp_path / "here")]
    words[1] += "/page" * (how in ("cp", "mv"))
    done = run("storage", "-m", *HEADERS, *words, "gs://more/page", stdin="<html>")
    assert done.code == 0, done.err
    assert [*bucket.about.values()] == [SAID]


def test_h_without_a_header_asks_for_help(run: Run) -> None:
    for words in (["-h"], ["-h", "cp"], ["-m", "-h"], ["--help"], [*HEADERS, "-h"]):
        assert run("storage", *words).out.startswith("Usage: mlengine storage [OPTIONS] COMMAND")
    assert run("storage", *HEADERS, "cp", "-h").out.startswith("Usage: mlengine storage cp")
    assert run("storage", "buckets", "-h").out.startswith("Usage: mlengine storage buckets")


REFUSED = {
    "of no value": (["-h", "Cache-Control", "cp", "x", "gs://more"], 2,
                    "argument -h: 'Cache-Control' is no HEADER:VALUE. Write it as "),
    "of no object": (["-h", "x-goog-acl:private", "cp", "x", "gs://more"], 2,
                     "argument -h: the header 'x-goog-acl' is not kept of objects. "),
    "with what writes nothing": ([*HEADERS, "ls"], 2, "headers go with cp, mv, rsync, not with ls"),
    "to no bucket": ([*HEADERS, "cp", "gs://data/a.csv", "x"], 1, "'x' is in no bucket: "),
    "to standard output": ([*HEADERS, "cp", "gs://data/a.csv", "-"], 1, "'-' is in no bucket: "),
}  # fmt: skip


@pytest.mark.parametrize(("words", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_a_header_that_would_be_lost_is_refused(
    run: Run, bucket: FakeEngine, words: list[str], code: int, said: str
) -> None:
    done = run("storage", *words)
    assert done.code == code and said in done.err
    assert not bucket.about
