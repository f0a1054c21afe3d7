"""Every published way around an extractor is refused, and leaves nothing behind."""

# ruff: noqa: E501  # one row a line makes the tables readable

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlengine.core.errors import EngineError, InvalidArgument, Unavailable
from mlengine.storage.archives import unpack

Change = dict[str, object]


def tar(*members: tuple[str, bytes, Change], fmt: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt) as archive:
        for name, data, change in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in change.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def header(
    name: bytes, size: int, kind: bytes, *, size_field: bytes = b"", link: bytes = b""
) -> bytes:
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = size_field or f"{size:011o}\0".encode()
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(**records: str) -> bytes:
    body = b""
    for key, value in records.items():
        text = f" {key.replace('_', '.')}={value}\n".encode("utf-8", "surrogateescape")
        size = len(text) + 1
        while len(str(size)) + len(text) != size:
            size += 1
        body += str(size).encode() + text
    return body


def pax_tar(kind: bytes, body: bytes, *, name: bytes = b"a") -> bytes:
    return (
        header(b"pax", len(body), kind)
        + padded(body)
        + header(name, 1, b"0")
        + padded(b"x")
        + bytes(1024)
    )


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def entry(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.create_system = 3
    return info


LINK: Change = {"type": tarfile.SYMTYPE, "linkname": "/etc"}


def links_past_path_max() -> bytes:
    """CVE-2025-4517: a chain of links so long that realpath gives up, then one that leads out."""
    members: list[tuple[str, bytes, Change]] = []
    step, path = "d" * 247, ""
    for letter in "abcdefghijklmnop":
        members.append((path + step, b"", {"type": tarfile.DIRTYPE}))
        members.append((path + letter, b"", {"type": tarfile.SYMTYPE, "linkname": step}))
        path += letter + "/"
    members.append((path + "l" * 254, b"", {"type": tarfile.SYMTYPE, "linkname": "../" * 16}))
    members.append(
        ("escape", b"", {"type": tarfile.SYMTYPE, "linkname": path + "l" * 254 + "/../x"})
    )
    return tar(*members)


def overlapping_zip() -> bytes:
    """Fifield's bomb: a thousand directory entries that share one kernel of packed bytes."""
    kernel = zlib.compressobj(9, zlib.DEFLATED, -15)
    plain = bytes(200_000)
    packed = kernel.compress(plain) + kernel.flush()
    crc = zlib.crc32(plain)
    sizes = struct.pack("<III", crc, len(packed), len(plain))
    name = b"a000"
    local = b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 8, 0, 0) + sizes + struct.pack("<HH", 4, 0)
    body = local + name + packed
    directory = b""
    for number in range(1000):
        directory += (
            b"PK\x01\x02" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 0) + sizes
            + struct.pack("<HHHHHII", 4, 0, 0, 0, 0, 0, 0) + f"a{number:03d}".encode()
        )  # fmt: skip
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1000, 1000, len(directory), len(body), 0)
    return body + directory + end


def two_overlapping_members() -> bytes:
    """Two entries at one place, small enough for every other limit."""
    data = bytearray(zipped(("a", b"x" * 50), ("b", b"x" * 50)))
    second = data.rfind(b"PK\x01\x02")
    data[second + 42 : second + 46] = bytes(4)
    return bytes(data)


def zip_with(change: Callable[[bytearray], None]) -> bytes:
    data = bytearray(zipped(("a.txt", b"hello hello hello")))
    change(data)
    return bytes(data)


def encrypted(data: bytearray) -> None:
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1


def lie_about_size(data: bytearray) -> None:
    at = data.find(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 9_999)


def other_local_name(data: bytearray) -> None:
    data[30:35] = b"b.txt"


def nul_in_name(data: bytearray) -> None:
    data[33:34] = b"\0"
    at = data.find(b"PK\x01\x02") + 46
    data[at + 3 : at + 4] = b"\0"


def no_name(data: bytearray) -> None:
    """What was the name is a comment."""
    at = data.find(b"PK\x01\x02")
    data[at + 28], data[at + 32] = 0, data[at + 28]


TARS: dict[str, tuple[bytes, str]] = {
    "a symbolic link (CVE-2007-4559)": (tar(("x", b"", LINK)), "symbolic link"),
    "a link and a file through it": (tar(("x", b"", LINK), ("x/passwd", b"e", {})), "symbolic link"),
    "a link that stays inside (CVE-2025-4138)": (
        tar(("x", b"", {"type": tarfile.SYMTYPE, "linkname": "y"})), "symbolic link"),
    "a hard link (CVE-2025-4330)": (
        tar(("x", b"", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"})), "hard link"),
    "a hard link to an earlier member": (
        tar(("a", b"x", {}), ("b", b"", {"type": tarfile.LNKTYPE, "linkname": "a"})), "hard link"),
    "links past PATH_MAX (CVE-2025-4517)": (links_past_path_max(), "linkpath|link"),
    "a character device": (tar(("x", b"", {"type": tarfile.CHRTYPE})), "device"),
    "a block device": (tar(("x", b"", {"type": tarfile.BLKTYPE})), "device"),
    "a pipe": (tar(("x", b"", {"type": tarfile.FIFOTYPE})), "pipe"),
    "setuid": (tar(("x", b"e", {"mode": 0o4755})), "setuid"),
    "setgid": (tar(("x", b"e", {"mode": 0o2755})), "setgid"),
    "an absolute name": (tar(("/etc/passwd", b"e", {})), "not plain"),
    "two slashes": (tar(("//etc/passwd", b"e", {})), "not plain"),
    "a name that climbs": (tar(("../x", b"e", {})), "not plain"),
    "a name that climbs later": (tar(("a/../../x", b"e", {})), "not plain"),
    "a name that climbs to itself (CVE-2024-12718)": (tar(("a/..", b"", {"type": tarfile.DIRTYPE})), "not plain"),
    "a folder called dot dot": (tar(("..", b"", {"type": tarfile.DIRTYPE})), "not plain"),
    "a backslash": (tar(("..\\x", b"e", {})), "not plain"),
    "a drive": (tar(("C:\\x", b"e", {})), "not plain"),
    "a control character": (tar(("a\nb", b"e", {})), "not plain"),
    "an extended name that climbs": (pax_tar(b"x", pax(path="../../x")), "not plain"),
    "an extended name with a NUL": (pax_tar(b"x", pax(path="a\0/../../x")), "NUL"),
    "an extended name that is no UTF-8": (pax_tar(b"x", b"11 path=\xff\xfe\n"), "not plain|damaged"),
    "a name for all members": (pax_tar(b"g", pax(path="x")), "for all members"),
    "an extended link": (pax_tar(b"x", pax(linkpath="/etc/passwd")), "linkpath"),
    "a sparse file of GNU 1.0": (pax_tar(b"x", pax(GNU_sparse_major="1", GNU_sparse_name="../x")), "sparse"),
    "a sparse file of old GNU": (header(b"x", 0, b"S") + bytes(1024), "sparse"),
    "a long name that climbs": (
        header(b"././@LongLink", 5, b"L") + padded(b"../x\0") + header(b"x", 1, b"0") + padded(b"x") + bytes(1024),
        "not plain"),
    "a long link": (header(b"././@LongLink", 5, b"K") + padded(b"/etc\0") + bytes(1024), "link"),
    "a name of 4 GiB": (header(b"l", 4 << 30, b"L", size_field=b"\x80" + (4 << 30).to_bytes(11, "big")), "too long"),
    "an extended header of 4 GiB": (header(b"p", 0, b"x", size_field=b"\x80" + (4 << 30).to_bytes(11, "big")), "too long"),
    "many extended headers": (header(b"p", 0, b"x") * 100 + bytes(1024), "too long"),
    "a negative size (CVE-2025-8194)": (header(b"x", 0, b"0", size_field=b"\xff" * 12), "negative"),
    "a negative size in an extended header": (pax_tar(b"x", pax(size="-512")), "not a number"),
    "a size of 8 EiB": (header(b"x", 0, b"0", size_field=b"\x80" + b"\0\0\0\x7f" + b"\xff" * 7), "larger than"),
    "a size that is no number": (header(b"x", 0, b"0", size_field=b"0x000000010\0"), "none"),
    "a damaged extended header": (pax_tar(b"x", b"99 path=x\n"), "damaged"),
    "an extended header without a length": (pax_tar(b"x", b"path=xxxxxxx"), "damaged"),
    "an unknown kind": (header(b"x", 0, b"Z") + bytes(1024), "unknown kind"),
    "a part of another archive": (header(b"x", 0, b"M") + bytes(1024), "continues"),
    "the same file twice": (tar(("x", b"1", {}), ("x", b"2", {})), "twice"),
    "the same file with ./": (tar(("x", b"1", {}), ("./x", b"2", {})), "twice"),
    "a file that becomes a folder": (tar(("x", b"1", {}), ("x/y", b"2", {})), "beneath a file"),
    "a folder that becomes a file": (tar(("x/y", b"1", {}), ("x", b"2", {})), "twice"),
    "a folder with content": (header(b"x", 5, b"5") + padded(b"hello") + bytes(1024), "content"),
    "a hundred folders deep": (tar(("d/" * 100 + "x", b"e", {})), "folders deep"),
    "a segment of 300 bytes": (tar(("d" * 300, b"e", {})), "not plain"),
    "a member that is cut off": (header(b"x", 5000, b"0") + b"abc", "cut off"),
    "a header that is cut off": (header(b"x", 0, b"0")[:300], "not a tar"),
    "random bytes": (b"\x01" * 2048, "not a tar"),
    "nothing": (b"x", "not a tar"),
    "a wrong checksum": (header(b"x", 0, b"0").replace(b"ustar", b"usTAR"), "not a tar"),
    "bzip2": (b"BZh9" + bytes(100), "bzip2"),
    "xz": (b"\xfd7zXZ\0" + bytes(100), "xz"),
}  # fmt: skip
ZIPS: dict[str, tuple[bytes, str]] = {
    "a name that climbs": (zipped(("../x", b"e")), "not plain"),
    "an absolute name": (zipped(("/etc/passwd", b"e")), "not plain"),
    "a backslash": (zipped(("..\\x", b"e")), "not plain"),
    "a folder that climbs": (zipped(("../", b"")), "not plain"),
    "a symbolic link": (zipped((entry("x", 0o120777), b"/etc/passwd")), "link"),
    "a link and a file through it": (zipped((entry("x", 0o120777), b"/"), ("x/y", b"")), "link"),
    "a device": (zipped((entry("x", 0o020644), b"")), "device"),
    "a pipe": (zipped((entry("x", 0o010644), b"")), "device"),
    "setuid": (zipped((entry("x", 0o104755), b"e")), "setuid"),
    "a file that says it is a folder": (zipped((entry("x", 0o040755), b"e")), "both"),
    "a folder that says it is a file": (zipped((entry("x/", 0o100755), b"")), "both"),
    "a folder with content": (zipped((entry("x/", 0o040755), b"data")), "content"),
    "a thousand members over one kernel": (overlapping_zip(), "overlaps|grow more"),
    "two members at one place": (two_overlapping_members(), "overlaps|damaged"),
    "encrypted": (zip_with(encrypted), "encrypted"),
    "a size that is a lie": (zip_with(lie_about_size), "shorter|damaged"),
    "another name in the local header": (zip_with(other_local_name), "damaged"),
    "no name": (zip_with(no_name), "no name"),
    "a NUL in a name": (zip_with(nul_in_name), "NUL"),
    "the same file twice": (zipped(("x/y", b"1"), ("x//y", b"2")), "not plain|twice"),
    "a file that becomes a folder": (zipped(("x", b"1"), ("x/y", b"2")), "beneath a file"),
    "a hundred folders deep": (zipped(("d/" * 100 + "x", b"")), "folders deep"),
    "a directory cut off": (zipped(("x", b"e"))[:-10], "cut off"),
    "a directory that is damaged": (zipped(("x", b"e")).replace(b"PK\x01\x02", b"PK\x09\x09"), "damaged"),
    "a wrong checksum": (zipped((entry("x"), b"abcdef")).replace(b"abcdef", b"abcdeg"), "damaged"),
    "bytes that are not deflate": (zip_with(lambda d: d.__setitem__(slice(35, 40), b"\xff" * 5)), "damaged"),
}  # fmt: skip


def refused(tmp_path: Path, data: bytes, match: str, **limits: int) -> None:
    archive = tmp_path / "upload"
    archive.write_bytes(data)
    with pytest.raises(InvalidArgument, match=match) as caught:
        unpack(archive, tmp_path / "out", **limits)
    assert caught.value.remedy
    assert str(tmp_path) not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]


@pytest.mark.parametrize(("data", "match"), TARS.values(), ids=TARS.keys())
def test_a_hostile_tar_is_refused_and_leaves_nothing(
    tmp_path: Path, data: bytes, match: str
) -> None:
    refused(tmp_path, data, match)


@pytest.mark.parametrize(("data", "match"), TARS.values(), ids=TARS.keys())
def test_a_hostile_tar_is_refused_also_when_gzipped(
    tmp_path: Path, data: bytes, match: str
) -> None:
    refused(tmp_path, gzip.compress(data), match + "|not a tar")


@pytest.mark.parametrize(("data", "match"), ZIPS.values(), ids=ZIPS.keys())
def test_a_hostile_zip_is_refused_and_leaves_nothing(
    tmp_path: Path, data: bytes, match: str
) -> None:
    refused(tmp_path, data, match)


def test_a_method_other_than_deflate_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x", b"data" * 100)
    refused(tmp_path, out.getvalue(), "other than deflate")


@pytest.mark.parametrize("cut", range(1, 100, 7))
def test_a_gzip_that_is_cut_off_anywhere_is_refused(tmp_path: Path, cut: int) -> None:
    data = gzip.compress(tar(("a", os.urandom(5000), {}), ("b", os.urandom(5000), {})))
    refused(tmp_path, data[: len(data) * cut // 100], "damaged|cut off|not a tar")


def test_a_gzip_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(tar(("a", b"x", {}))))
    data[-8] ^= 1
    refused(tmp_path, bytes(data), "damaged")


LIMITS: dict[str, tuple[bytes, dict[str, int], str]] = {
    "files of a tar": (tar(*((f"f{n}", b"", {}) for n in range(11))), {"max_files": 10}, "one more"),
    "folders count": (tar(*((f"f{n}", b"", {"type": tarfile.DIRTYPE}) for n in range(11))), {"max_files": 10}, "one more"),
    "files of a zip": (zipped(*((f"f{n}", b"") for n in range(11))), {"max_files": 10}, "more than 10"),
    "a directory of a million files": (zipped(*((f"f{n}", b"") for n in range(999))), {"max_files": 9}, "directory of"),
    "bytes of a tar": (tar(("a", bytes(9000), {})), {"max_bytes": 8000}, "larger than"),
    "bytes of two members": (tar(("a", bytes(5000), {}), ("b", bytes(5000), {})), {"max_bytes": 8000}, "larger than"),
    "bytes of a zip": (zipped(("a", bytes(9000))), {"max_bytes": 8000}, "larger than"),
    "growth of a zip": (zipped(("a", bytes(8 << 20))), {}, "grow more than 100"),
    "growth of a tar.gz": (gzip.compress(tar(("a", bytes(8 << 20), {}))), {}, "grow more than 100"),
    "growth behind the end of a tar.gz": (gzip.compress(tar(("a", b"", {})) + bytes(8 << 20)), {}, "grow more than 100"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "limits", "match"), LIMITS.values(), ids=LIMITS.keys())
def test_a_limit_that_is_reached_leaves_nothing(
    tmp_path: Path, data: bytes, limits: dict[str, int], match: str
) -> None:
    refused(tmp_path, data, match, **limits)


BOMB = """
import resource, sys
from pathlib import Path
from mlengine.core.errors import InvalidArgument
from mlengine.storage.archives import unpack
import mlengine.storage.tars, mlengine.storage.zips
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
except InvalidArgument as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def bomb_of_zeros() -> bytes:
    """10 MB that become 10 GB, as far as it gets."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    size = 10 << 30
    out = [squeeze.compress(header(b"zeros", 0, b"0", size_field=f"{size:011o}\0".encode()))]
    out += [squeeze.compress(bytes(1 << 20)) for _ in range(600)]
    return b"".join(out) + squeeze.flush()


def bomb_of_names() -> bytes:
    """An extended header that claims, and has, half a gigabyte."""
    size = 512 << 20
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    out = [squeeze.compress(header(b"p", 0, b"x", size_field=f"{size:011o}\0".encode()))]
    out += [squeeze.compress(bytes(1 << 20)) for _ in range(512)]
    return b"".join(out) + squeeze.flush()


def bomb_of_members() -> bytes:
    """A zip with 200,000 members of nothing."""
    directory = b"".join(
        b"PK\x01\x02" + bytes(24) + struct.pack("<HHH", 6, 0, 0) + bytes(12) + f"{n:06d}".encode()
        for n in range(200_000)
    )
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 65_535, 65_535, len(directory), 0, 0)
    return directory + end


@pytest.mark.parametrize("make", [bomb_of_zeros, bomb_of_names, bomb_of_members])
def test_a_bomb_takes_little_time_and_memory(tmp_path: Path, make: Callable[[], bytes]) -> None:
    (tmp_path / "bomb").write_bytes(make())
    argv = [sys.executable, "-c", BOMB, str(tmp_path / "bomb"), str(tmp_path / "out")]
    start = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert int(done.stdout) < 100 * 1024, "KiB of memory"
    assert time.monotonic() - start < 50
    assert [path.name for path in tmp_path.iterdir()] == ["bomb"]


def test_what_people_pack_is_unpacked(tmp_path: Path) -> None:
    tree: tuple[tuple[str, bytes, Change], ...] = (
        ("pkg", b"", {"type": tarfile.DIRTYPE, "mode": 0o2775}),
        ("pkg/run.sh", b"#!/bin/sh\n", {"mode": 0o755}),
        ("pkg/" + "long" * 40 + "/é.txt", b"long", {}),
        ("./pkg/empty", b"", {}),
        ("pkg/big", b"0123456789" * 100_000, {}),
    )
    expected = sorted(name.removeprefix("./") for name, _data, c in tree if "type" not in c)
    for fmt in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        for number, data in enumerate([tar(*tree, fmt=fmt), gzip.compress(tar(*tree, fmt=fmt))]):
            (tmp_path / "a").write_bytes(data)
            out = tmp_path / f"out-{fmt}-{number}"
            assert unpack(tmp_path / "a", out) == expected
            assert (out / "pkg/run.sh").stat().st_mode & 0o7777 == 0o755
            assert (out / "pkg/big").stat().st_mode & 0o7777 == 0o644
            assert (out / "pkg").stat().st_mode & 0o7777 == 0o755
            assert (out / "pkg/big").stat().st_size == 1_000_000
            assert (out / "pkg" / ("long" * 40) / "é.txt").read_bytes() == b"long"


def test_a_wheel_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(
        zipped(
            (entry("pkg/run", 0o100755), b"x"),
            ("pkg/__init__.py", b""),
            (entry("d/", 0o040755), b""),
        )
    )
    assert unpack(tmp_path / "a.whl", tmp_path / "out") == ["pkg/__init__.py", "pkg/run"]
    assert (tmp_path / "out/pkg/run").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out/d").is_dir()


def test_empty_archives_become_empty_folders(tmp_path: Path) -> None:
    for number, data in enumerate([tar(), zipped(), tar(("./", b"", {"type": tarfile.DIRTYPE}))]):
        (tmp_path / "a").write_bytes(data)
        assert unpack(tmp_path / "a", tmp_path / f"out{number}") == []


def test_comments_and_times_in_extended_headers_are_ignored(tmp_path: Path) -> None:
    body = pax(comment="from git", mtime="1.5", path="renamed", size="1")
    (tmp_path / "a").write_bytes(pax_tar(b"x", body))
    assert unpack(tmp_path / "a", tmp_path / "out") == ["renamed"]
    (tmp_path / "g").write_bytes(pax_tar(b"g", pax(comment="0123abcd")))
    assert unpack(tmp_path / "g", tmp_path / "out-g") == ["a"]


def test_a_folder_that_is_not_empty_is_not_unpacked_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("kept")
    (tmp_path / "a").write_bytes(tar(("x", b"e", {})))
    with pytest.raises(EngineError):
        unpack(tmp_path / "a", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "mine", "out"]


def test_an_archive_that_is_missing_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="was not found"):
        unpack(tmp_path / "missing", tmp_path / "out")
    assert [*tmp_path.iterdir()] == []


def test_an_unpacking_that_breaks_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "a").write_bytes(tar(("x", b"e", {})))
    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(Unavailable, match="No space is left"):
        unpack(tmp_path / "a", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_mutated_archive_is_unpacked_inside_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    whole = (
        tar(("a/b", b"1" * 600, {}), ("c" * 120, b"2", {}))
        if kind == "tar"
        else zipped(("a/b", b"1" * 600), ("c", b"2"))
    )
    body = bytearray(whole)
    for _turn in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    root = tmp_path_factory.mktemp("mutant")
    (root / "a").write_bytes(bytes(body))
    try:
        names = unpack(root / "a", root / "out", max_bytes=1 << 20)
        assert (
            sorted(
                p.relative_to(root / "out").as_posix()
                for p in (root / "out").rglob("*")
                if p.is_file()
            )
            == names
        )
    except InvalidArgument:
        assert [path.name for path in root.iterdir()] == ["a"]
    assert {path.name for path in root.iterdir()} <= {"a", "out"}
