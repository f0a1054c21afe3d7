"""gsutil and gcloud storage as trainers call them: what lands where, what is said, which exit."""

from __future__ import annotations

import errno
import gzip
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from mlengine.storage import BucketPath, Buckets
from mlengine.storage.gcs.conditions import Conditions
from mlengine.storage.gcs.shelving import open_shelf
from mlengine.storage.gcs.uploads import store_object
from mlengine.storage.records import ObjectRecord
from mlengine.storage.shims import CONFIG_VARIABLE, main
from mlengine.storage.shims.contents import UnpackedObjects, copy_object
from mlengine.storage.shims.programs import install_programs
from mlengine.storage.shims.realpaths import uri_of
from mlengine.storage.sidecar.config import SidecarConfig, write_config
from tests.fakes.bucket_table import BucketTableFake


@pytest.fixture
def buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Buckets:
    """Buckets as the engine has them; the commands find them by the job's file."""
    found = Buckets(BucketTableFake(), tmp_path / "buckets")
    found.create(Bucket(name="mine"))
    for name in ("a.csv", "data/b.csv", "data/deep/c.csv"):
        found.write(f"gs://mine/{name}", [name.encode()])
    config = tmp_path / "buckets.json"
    write_config(config, SidecarConfig(secret="s" * 32, root=str(tmp_path / "buckets"), buckets=[]))
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    monkeypatch.setenv("CLOUD_ML_PROJECT_ID", "census")
    monkeypatch.chdir(tmp_path)
    return found


def names(buckets: Buckets, prefix: str = "") -> list[str]:
    return [info.name for info in buckets.objects("mine", prefix=prefix)]


def read(buckets: Buckets, name: str) -> bytes:
    with buckets.open_read(f"gs://mine/{name}") as file:
        return file.read()


def gsutil(line: str) -> int:
    return main("gsutil", line.split())


def gcloud(line: str) -> int:
    return main("gcloud", line.split())


@pytest.mark.parametrize("tool", ["gsutil -q -m", "gcloud --quiet storage"])
def test_cp_there_and_back(buckets: Buckets, tool: str, tmp_path: Path) -> None:
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "model.pkl").write_bytes(b"model")
    (tmp_path / "out" / "sub" / "x").write_bytes(b"x")
    program, *flags = tool.split()
    run = lambda *words: main(program, [*flags, *words])  # noqa: E731
    assert run("cp", "-r", "out", "gs://mine/jobs/1") == 0
    assert names(buckets, "jobs/") == ["jobs/1/model.pkl", "jobs/1/sub/x"]
    assert run("cp", "gs://mine/data/*.csv", ".") == 0
    assert (tmp_path / "b.csv").read_bytes() == b"data/b.csv"
    assert run("cp", "-r", "gs://mine/data", str(tmp_path / "got")) == 0
    assert (tmp_path / "got" / "deep" / "c.csv").read_bytes() == b"data/deep/c.csv"
    assert run("cp", "gs://mine/a.csv", "gs://mine/copy/") == 0
    assert read(buckets, "copy/a.csv") == b"a.csv"


@pytest.mark.parametrize("run", [gsutil, lambda line: gcloud(f"storage {line}")])
def test_mv_rm_cat_ls_du(buckets: Buckets, run, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    assert run("mv gs://mine/a.csv gs://mine/b.csv") == 0
    assert run("cat gs://mine/b.csv gs://mine/data/*.csv") == 0
    assert capfdbinary.readouterr().out == b"a.csvdata/b.csv"
    assert run("ls gs://mine") == 0
    assert capfdbinary.readouterr().out == b"gs://mine/b.csv\ngs://mine/data/\n"
    assert run("ls") == 0
    assert capfdbinary.readouterr().out == b"gs://mine/\n"
    assert run("ls -l gs://mine/b.csv") == 0
    assert b"gs://mine/b.csv" in capfdbinary.readouterr().out
    assert run("ls gs://mine/**") == 0
    assert capfdbinary.readouterr().out.splitlines() == [
        b"gs://mine/b.csv", b"gs://mine/data/b.csv", b"gs://mine/data/deep/c.csv"
    ]  # fmt: skip
    assert run("du -s gs://mine/data") == 0
    assert capfdbinary.readouterr().out.split() == [b"25", b"gs://mine/data"]
    assert run("rm gs://mine/b.csv") == 0
    assert run("rm -r gs://mine/data") == 0
    assert names(buckets) == []


def test_a_recursive_listing_has_a_heading_for_each_folder(
    buckets: Buckets, capfd: pytest.CaptureFixture[str]
) -> None:
    assert gsutil("ls -r gs://mine/data") == 0
    assert capfd.readouterr().out.splitlines() == [
        "gs://mine/data/:", "gs://mine/data/b.csv", "",
        "gs://mine/data/deep/:", "gs://mine/data/deep/c.csv",
    ]  # fmt: skip


def test_stat_tells_by_its_exit_whether_an_object_is_there(
    buckets: Buckets, capfd: pytest.CaptureFixture[str]
) -> None:
    assert gsutil("-q stat gs://mine/a.csv") == 0
    assert capfd.readouterr() == ("", "")
    assert gsutil("-q stat gs://mine/none.csv") == 1
    assert gsutil("stat gs://mine/a.csv") == 0
    assert "Content-Length:         5" in capfd.readouterr().out


@pytest.mark.parametrize("run", [gsutil, lambda line: gcloud(f"storage {line}")])
def test_the_path_that_an_argument_became_is_its_object_again(
    buckets: Buckets,
    tmp_path: Path,
    run: Callable[[str], int],
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    mine = tmp_path / "buckets" / "mine"
    assert run(f"cat {mine}/data/b.csv") == 0
    assert capfdbinary.readouterr().out == b"data/b.csv"
    assert run(f"ls {mine} {mine}/data/*.csv") == 0
    assert capfdbinary.readouterr().out.split() == [
        b"gs://mine/a.csv", b"gs://mine/data/", b"gs://mine/data/b.csv"
    ]  # fmt: skip
    assert run(f"du -s {mine}/data/") == 0
    assert capfdbinary.readouterr().out.split() == [b"25", b"gs://mine/data/"]
    assert run(f"rm -r {mine}/data") == 0
    assert names(buckets) == ["a.csv"]
    assert run(f"cat {tmp_path}/buckets.json") == 1  # no bucket holds it


def test_stat_of_the_path_that_an_argument_became_tells_what_is_there(
    buckets: Buckets, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert gsutil(f"-q stat {tmp_path}/buckets/mine/a.csv") == 0
    assert gsutil(f"-q stat {tmp_path}/buckets/mine/none.csv") == 1
    assert "gs://mine/none.csv matches no object" in capfd.readouterr().err


def test_the_path_of_a_bucket_that_is_backed_by_a_folder_is_its_object_too(tmp_path: Path) -> None:
    backed = [
        Bucket(name="outer", backing=f"file://{tmp_path}/data"),
        Bucket(name="inner", backing=f"file://{tmp_path}/data/deep/"),
        Bucket(name="away", backing="s3://bucket/data"),
    ]
    config = SidecarConfig(secret="s" * 32, root="/home/buckets", buckets=backed)
    for word, uri in {
        f"{tmp_path}/data/x.csv": "gs://outer/x.csv",
        f"{tmp_path}/data": "gs://outer",
        f"{tmp_path}/data/deep/": "gs://inner/",
        f"{tmp_path}/database": f"{tmp_path}/database",
        "/home/buckets/mine/*.csv": "gs://mine/*.csv",
        "/home/buckets": "/home/buckets",
        "gs://mine/x": "gs://mine/x",
        "x.csv": "x.csv",
    }.items():
        assert uri_of(word, config) == uri


@pytest.mark.parametrize(
    ("line", "out"),
    [
        ("gsutil ls gs://", "gs://mine/\ngs://more/\n"),
        ("gsutil ls gs://mo*", "gs://more/big\n"),
        ("gsutil ls gs://m*/*.csv", "gs://mine/a.csv\n"),
        ("gsutil ls -d gs://m* gs://mine/data", "gs://mine/\ngs://more/\ngs://mine/data/\n"),
        ("gcloud storage ls gs://", "gs://mine/\ngs://more/\n"),
        ("gsutil cat -r 1-3 gs://mine/a.csv", ".cs"),
        ("gsutil cat -r -3 gs://mine/a.csv", "csv"),
        ("gcloud storage cat -r 3- gs://mine/a.csv", "sv"),
        ("gcloud storage cat --range=0-0 gs://mine/a.csv", "a"),
        ("gsutil cat -h gs://mine/a.csv", "==> gs://mine/a.csv <==\na.csv"),
        ("gcloud storage cat -d gs://mine/a.csv", "==> gs://mine/a.csv <==\na.csv"),
        ("gsutil du -sh gs://more gs://mine", "1.5 KiB      gs://more/\n30 B         gs://mine/\n"),
        ("gsutil du -sc gs://more gs://mine",
         "1536         gs://more/\n30           gs://mine/\n1566         total\n"),
        ("gcloud storage du -s -r gs://more", "1.5 KiB      gs://more/\n"),
    ],
)  # fmt: skip
def test_what_is_shown(
    buckets: Buckets, line: str, out: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    buckets.create(Bucket(name="more"))
    buckets.write("gs://more/big", [b"x" * 1536])
    program, *words = line.split()
    assert main(program, words) == 0
    assert capfdbinary.readouterr() == (out.encode(), b"")


@pytest.mark.parametrize("line", ["gsutil ls -lh", "gcloud storage ls -l --readable-sizes"])
def test_sizes_for_people(buckets: Buckets, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    buckets.write("gs://mine/big", [b"x" * 1536])
    program, *words = line.split()
    assert main(program, [*words, "gs://mine/big"]) == 0
    found, total = capfd.readouterr().out.splitlines()
    assert found.startswith("   1.5 KiB  ") and total == "TOTAL: 1 objects, 1536 bytes (1.5 KiB)"


@pytest.mark.parametrize(
    "line", ["gsutil rsync -r -d -x .*[.]tmp$|keep/",
             "gcloud storage rsync -r --delete-unmatched-destination-objects -x .*[.]tmp$,keep/"]
)  # fmt: skip
def test_rsync_leaves_alone_at_both_places_what_is_excluded(
    buckets: Buckets, tmp_path: Path, line: str
) -> None:
    (tmp_path / "src/keep").mkdir(parents=True)
    for name in ("new", "not.tmp", "keep/not"):
        (tmp_path / "src" / name).write_text("x")
    for name in ("old", "there.tmp", "keep/there"):
        buckets.write(f"gs://mine/m/{name}", [b"x"])
    program, *words = line.split()
    assert main(program, [*words, "src", "gs://mine/m"]) == 0
    assert names(buckets, "m/") == ["m/keep/there", "m/new", "m/there.tmp"]


def test_no_clobber_leaves_what_is_there(
    buckets: Buckets, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_bytes(b"newer")
    assert gsutil("cp -n a.csv gs://mine/a.csv") == 0
    assert read(buckets, "a.csv") == b"a.csv"
    assert "Skipping existing item: gs://mine/a.csv" in capfd.readouterr().err


def test_rsync_copies_what_differs_and_deletes_only_when_told(
    buckets: Buckets, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "data"
    (tree / "deep").mkdir(parents=True)
    (tree / "b.csv").write_bytes(b"data/b.csv")
    (tree / "deep" / "c.csv").write_bytes(b"changed")
    (tree / "new").write_bytes(b"new")
    buckets.write("gs://mine/data/old", [b"old"])
    assert gsutil("-m rsync -r data gs://mine/data") == 0
    said = capfd.readouterr().err
    assert "b.csv" not in said
    assert read(buckets, "data/deep/c.csv") == b"changed"
    assert names(buckets, "data/") == ["data/b.csv", "data/deep/c.csv", "data/new", "data/old"]
    line = "storage rsync --recursive --delete-unmatched-destination-objects data gs://mine/data"
    assert gcloud(line) == 0
    assert "data/old" not in names(buckets)
    assert gsutil("rsync gs://mine/data back") == 0
    assert sorted(p.name for p in (tmp_path / "back").iterdir()) == ["b.csv", "new"]


@pytest.mark.parametrize(
    "run",
    [
        lambda places: gsutil(f"rsync -r -d {places}"),
        lambda places: gcloud(f"storage rsync -r --delete-unmatched-destination-objects {places}"),
    ],
)
def test_rsync_from_a_misspelt_name_deletes_nothing(buckets: Buckets, run) -> None:  # type: ignore[no-untyped-def]
    before = names(buckets)
    assert run("gs://mine/dta gs://mine/data") == 1
    assert run("gs://other/data gs://mine/data") == 1
    assert names(buckets) == before
    assert run("gs://mine/data/deep gs://mine/data") == 0
    assert names(buckets) == ["a.csv", "data/c.csv"]


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder ``src`` with a file, a link to one elsewhere, and a link to a folder."""
    folder = tmp_path / "src"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/real.h5").write_bytes(b"best")
    (folder / "last.h5").write_bytes(b"last")
    (folder / "best.h5").symlink_to("../elsewhere/real.h5")
    (folder / "folder").symlink_to("../elsewhere")
    return folder


RSYNC_GCLOUD = "storage rsync -r --delete-unmatched-destination-objects"


@pytest.mark.parametrize(
    "run",
    [
        lambda: gsutil("cp -r src gs://mine/m"),
        lambda: gcloud("storage cp -r src gs://mine/m"),
        lambda: gsutil("rsync -r -d src gs://mine/m"),
        lambda: gcloud(f"{RSYNC_GCLOUD} --no-ignore-symlinks src gs://mine/m"),
    ],
)
def test_links_to_files_are_followed_and_those_to_folders_said(  # type: ignore[no-untyped-def]
    buckets: Buckets, linked: Path, run, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    assert names(buckets, "m/") == ["m/best.h5", "m/last.h5"]
    assert read(buckets, "m/best.h5") == b"best"
    assert "src/folder: it is a link" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("run", "exit_code"),
    [
        (lambda: gsutil("rsync -r -d src gs://mine/m"), 1),
        (lambda: gsutil("rsync -r -d -e src gs://mine/m"), 0),
        (lambda: gcloud(f"{RSYNC_GCLOUD} src gs://mine/m"), 0),
    ],
)
def test_rsync_deletes_nothing_that_it_left_out(  # type: ignore[no-untyped-def]
    buckets: Buckets, linked: Path, run, exit_code: int
) -> None:
    (linked.parent / "elsewhere/real.h5").unlink()
    for name in ("best.h5", "folder/x", "old"):
        buckets.write(f"gs://mine/m/{name}", [b"x"])
    assert run() == exit_code
    assert names(buckets, "m/") == ["m/best.h5", "m/folder/x", "m/last.h5"]


def test_a_link_that_leads_nowhere_fails_the_copy_of_all_but_itself(
    buckets: Buckets, linked: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (linked.parent / "elsewhere/real.h5").unlink()
    assert gsutil("cp -r src gs://mine/m") == 1
    assert names(buckets, "m/") == ["m/last.h5"]
    said = capfd.readouterr().err
    assert "src/best.h5: it is a link that leads to no file." in said
    assert "1 file was not copied" in said
    assert gsutil("cp src/* gs://mine/n/") == 1
    assert names(buckets, "n/") == ["n/last.h5"]


def test_rsync_without_r_does_not_mind_what_lies_deeper(
    buckets: Buckets, linked: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (linked / "deep").mkdir()
    (linked / "deep/nowhere").symlink_to("none")
    assert gsutil("rsync src gs://mine/m") == 0
    assert "nowhere" not in capfd.readouterr().err


def test_mv_takes_links_away_and_not_what_they_lead_to(buckets: Buckets, linked: Path) -> None:
    (linked / "newest.h5").symlink_to("last.h5")
    assert gsutil("mv src gs://mine/m") == 0
    assert names(buckets, "m/") == ["m/best.h5", "m/last.h5", "m/newest.h5"]
    assert sorted(path.name for path in linked.iterdir()) == ["folder"]
    assert (linked.parent / "elsewhere/real.h5").read_bytes() == b"best"


def test_a_folder_that_cannot_be_read_is_not_taken_for_empty(
    buckets: Buckets, linked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (linked / "deep").mkdir()
    buckets.write("gs://mine/m/deep/x", [b"x"])
    scandir = os.scandir

    def guarded(path: str | int) -> object:
        if str(path).endswith("/deep"):
            raise PermissionError(errno.EACCES, "", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)  # root, who may run this, reads all folders
    assert gsutil("rsync -r -d src gs://mine/m") == 1
    monkeypatch.undo()
    assert names(buckets, "m/") == ["m/deep/x"]


def store_packed(buckets: Buckets, name: str, content: bytes) -> ObjectRecord:
    """Store an object with all that can be said of one; return what was said."""
    shelf = open_shelf(buckets, "mine")
    said = ObjectRecord(
        content_type="application/json", content_encoding="gzip", metadata={"run": "7"}
    )
    store_object(shelf, name, [content], said, Conditions())
    return said


def said_of(buckets: Buckets, name: str) -> ObjectRecord:
    """Return what is said of an object, but for what is its copy's own."""
    record = open_shelf(buckets, "mine").find(name).record
    return ObjectRecord(
        content_type=record.content_type,
        content_encoding=record.content_encoding,
        metadata=record.metadata,
    )


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("cp gs://mine/dir/x.json gs://mine/y.json", "y.json"),
        ("mv gs://mine/dir/x.json gs://mine/y.json", "y.json"),
        ("rsync -r gs://mine/dir gs://mine/copy", "copy/x.json"),
    ],
)
def test_what_is_said_of_an_object_goes_with_it_from_bucket_to_bucket(
    buckets: Buckets, line: str, name: str
) -> None:
    packed = gzip.compress(b"{}")
    said = store_packed(buckets, "dir/x.json", packed)
    assert gsutil(line) == 0
    assert read(buckets, name) == packed
    assert said_of(buckets, name) == said


def test_a_packed_object_is_handed_out_unpacked(
    buckets: Buckets, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    content = b"{}" * 3_000_000
    packed = gzip.compress(content) + gzip.compress(b"more")
    store_packed(buckets, "dir/x.json", packed)
    assert gsutil("cp gs://mine/dir/x.json got") == 0
    assert (tmp_path / "got").read_bytes() == content + b"more"
    assert gcloud("storage cp gs://mine/dir/x.json --do-not-decompress packed") == 0
    assert (tmp_path / "packed").read_bytes() == packed
    assert gsutil("rsync -r gs://mine/dir back") == 0
    assert (tmp_path / "back/x.json").read_bytes() == content + b"more"
    capfdbinary.readouterr()
    assert gsutil("cat gs://mine/dir/x.json") == 0
    assert capfdbinary.readouterr().out == content + b"more"
    assert gsutil("rsync -r gs://mine/dir back") == 0
    assert b"Copying" not in capfdbinary.readouterr().err


def test_an_object_that_is_not_packed_as_it_says_is_handed_out_as_it_is(
    buckets: Buckets, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store_packed(buckets, "plain", b"plain")
    store_packed(buckets, "empty", b"")
    store_packed(buckets, "cut", gzip.compress(os.urandom(1000))[:500])
    for name, content in (("plain", b"plain"), ("empty", b"")):
        assert gsutil(f"cp gs://mine/{name} {name}") == 0
        assert (tmp_path / name).read_bytes() == content
    assert gsutil("cp gs://mine/cut cut") == 1
    assert "gs://mine/cut is said to be packed by gzip" in capfd.readouterr().err
    assert not (tmp_path / "cut").exists()


def test_buckets_that_remember_only_bytes_are_copied_too(buckets: Buckets, tmp_path: Path) -> None:
    buckets.create(Bucket(name="flat", backing=f"memory://{tmp_path.name}"))
    copy_object(BucketPath("mine", "a.csv"), BucketPath("flat", "b"), buckets)
    copy_object(BucketPath("flat", "b"), BucketPath("mine", "c"), buckets)
    assert read(buckets, "c") == b"a.csv"
    with UnpackedObjects(buckets).open_read(BucketPath("flat", "b")) as file:
        assert file.read() == b"a.csv"


def make_folders(buckets: Buckets, *names: str) -> None:
    """Make folders as `tf.io.gfile.makedirs` does."""
    for name in names:
        open_shelf(buckets, "mine").make_folder(name, ObjectRecord())


def folders(buckets: Buckets) -> list[str]:
    shelf = open_shelf(buckets, "mine")
    return [n for n, _ in shelf.each("", after="", is_shallow=False) if n.endswith("/")]


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("rm -r gs://mine/data", ["data2/", "empty/", "empty/deep/"]),
        ("rm -r gs://mine/data/", ["data2/", "empty/", "empty/deep/"]),
        ("rm -r gs://mine/data/deep", ["data/", "data2/", "empty/", "empty/deep/"]),
        ("rm -r gs://mine/d*", ["empty/", "empty/deep/"]),
        ("rm -r gs://mine/empty", ["data/", "data/deep/", "data2/"]),
        ("rm -r gs://mine", []),
        ("rm gs://mine/data/b.csv", ["data/", "data/deep/", "data2/", "empty/", "empty/deep/"]),
        ("mv gs://mine/data gs://mine/new", ["data2/", "empty/", "empty/deep/"]),
        ("mv -n gs://mine/data gs://mine/new", ["data/", "data2/", "empty/", "empty/deep/"]),
    ],
)
def test_folders_go_with_what_was_in_them(buckets: Buckets, line: str, left: list[str]) -> None:
    make_folders(buckets, "data/", "data/deep/", "data2/", "empty/", "empty/deep/")
    if "-n" in line:
        buckets.write("gs://mine/new/data/b.csv", [b"already there"])
    assert gsutil(line) == 0
    assert folders(buckets) == left


def test_nothing_at_all_is_still_not_found(buckets: Buckets) -> None:
    assert gsutil("rm -r gs://mine/none") == 1
    assert gsutil("rm -r -f gs://mine/none") == 0


def test_a_header_that_means_nothing_to_an_object_is_read_over(buckets: Buckets) -> None:
    assert gsutil("-h x-goog-user-project:p cp gs://mine/a.csv gs://mine/b.csv") == 0
    assert read(buckets, "b.csv") == b"a.csv"


@pytest.mark.parametrize(
    ("program", "line", "says"),
    [
        ("gsutil", "cp gs://mine/none.csv .", "matches no object"),
        ("gsutil", "cp gs://public-data/x .", "'public-data' was not found"),
        ("gsutil", "cp data.txt", "a source and a destination"),
        ("gsutil", "cp gs://mine/data .", "Add -r"),
        ("gsutil", "cp -Q x gs://mine/x", "option -Q not recognized"),
        ("gsutil", "cp -z txt x gs://mine/x", "compressed"),
        ("gsutil", "rsync -n a gs://mine/x", "only shows"),
        ("gsutil", "rsync -i a gs://mine/x", "'gsutil rsync -i' leaves what is there"),
        ("gsutil", "rsync -u a gs://mine/x", "'gsutil rsync -u' leaves what is newer"),
        ("gsutil", "cat -r 4-2 gs://mine/a.csv", "The range '4-2' names no bytes"),
        ("gsutil", "rsync -x *.tmp a gs://mine/x", "'*.tmp' is no regular expression"),
        ("gsutil", "ls gs://our*", "gs://our* matches no bucket"),
        ("gsutil", "cp -r - gs://mine/x", "Leave -r out"),
        ("gsutil", "mv - gs://mine/x", "'-' cannot be moved"),
        ("gsutil", "ls -b gs://mine", "'gsutil ls -b' describes"),
        ("gsutil", "cp -L log gs://mine/a.csv gs://mine/b", "'gsutil cp -L' would keep a list"),
        ("gsutil", "-h Content-Type:text/x cp gs://mine/a.csv gs://mine/b", "-h Content-Type:"),
        ("gcloud", "storage ls --buckets gs://mine", "storage ls --buckets' describes"),
        ("gcloud", "storage ls -b gs://mine", "storage ls -b' describes"),
        ("gcloud", "storage cp --content-type=x gs://mine/a.csv gs://mine/b", "--content-type"),
        ("gsutil", "mb gs://other", "'gsutil mb' is not known"),
        ("gsutil", "rm -r gs://mine/../other", "gs://mine/../other"),
        ("gcloud", "storage cpp a gs://mine/x", "Did you mean 'cp'?"),
        ("gcloud", "ml-engine jobs list", "'gcloud ml-engine jobs' is not known"),
        ("gcloud", "storage cp --gzip-in-flight=txt x gs://mine/x", "--gzip-in-flight"),
        ("gcloud", "storage rm gs://mine/none", "matches no object"),
    ],
)
def test_what_cannot_be_done_is_said(
    buckets: Buckets, program: str, line: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = names(buckets)
    assert main(program, line.split()) == 1
    said = capfd.readouterr().err
    assert says in said
    assert "Traceback" not in said
    assert names(buckets) == before


def test_the_project_is_told(buckets: Buckets, capfd: pytest.CaptureFixture[str]) -> None:
    assert gcloud("config get-value project") == 0
    assert capfd.readouterr().out == "census\n"


def test_the_programs_run_from_any_environment(buckets: Buckets, tmp_path: Path) -> None:
    folder = install_programs(tmp_path / "a folder's programs")
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "msgspec.py").write_text("raise SystemExit('the trainer shadows a module')")
    env = {
        "PATH": f"{folder}:/usr/bin:/bin", "PYTHONPATH": str(hostile), "PYTHONHOME": "/nowhere",
        CONFIG_VARIABLE: os.environ[CONFIG_VARIABLE],
    }  # fmt: skip
    words = ["gsutil", "cp", "-", "gs://mine/from stdin"]
    subprocess.run(words, env=env, cwd=hostile, input=b"piped", check=True, capture_output=True)
    assert read(buckets, "from stdin") == b"piped"
    words = ["gcloud", "storage", "cp", "gs://mine/a.csv", "-"]
    done = subprocess.run(words, env=env, cwd=hostile, check=True, capture_output=True)
    assert done.stdout == b"a.csv"
    done = subprocess.run(["gsutil", "ls"], env={"PATH": env["PATH"]}, capture_output=True)
    assert done.returncode == 1
    assert b"bucket access" in done.stderr


def test_installing_again_changes_nothing(tmp_path: Path) -> None:
    folder = install_programs(tmp_path)
    before = [(p.name, p.stat().st_ino) for p in sorted(folder.iterdir())]
    install_programs(tmp_path)
    assert [(p.name, p.stat().st_ino) for p in sorted(folder.iterdir())] == before
    (folder / "gsutil").write_text("an older one")
    install_programs(tmp_path)
    assert (folder / "gsutil").read_text().startswith("#!/bin/sh")
