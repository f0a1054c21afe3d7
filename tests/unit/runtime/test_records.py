from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.records import RecordError, crc32c, masked_crc, read_records
from tests.fakes.records import write_records


@given(st.lists(st.binary(max_size=200)), st.booleans())
def test_records_come_back_as_they_were_written(records: list[bytes], compressed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "r")
        write_records(path, records, compressed=compressed)
        assert list(read_records(path, compressed=compressed)) == records


@given(st.binary(min_size=1, max_size=60), st.data())
def test_any_changed_byte_is_noticed(record: bytes, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "r")
        write_records(path, [record])
        written = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(written) - 1))
        written[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(written)
        with pytest.raises(RecordError, match="record 0 at byte 0"):
            list(read_records(path))


@given(st.integers(1, 50))
def test_a_file_cut_short_is_noticed(cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "r")
        write_records(path, [b"first", b"x" * 60])
        path.write_bytes(path.read_bytes()[:-cut])
        found = read_records(path)
        assert next(found) == b"first"
        with pytest.raises(RecordError, match="record 1 at byte 21"):
            next(found)


def test_text_is_no_record_file(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b'{"this": "is", "a": "json file"}\n')
    with pytest.raises(RecordError, match="is this a TFRecord file"):
        list(read_records(tmp_path / "r"))


def test_a_damaged_gzip_is_noticed(tmp_path: Path) -> None:
    write_records(tmp_path / "r", [b"x" * 100], compressed=True)
    (tmp_path / "r").write_bytes((tmp_path / "r").read_bytes()[:-12])
    with pytest.raises(RecordError):
        list(read_records(tmp_path / "r", compressed=True))


def test_checksums_are_those_of_the_standard() -> None:
    # RFC 3720, appendix B.4.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert masked_crc(b"") == 0xA282EAD8


def test_tensorflow_reads_what_is_written_here_and_the_reverse(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    records = [b"", b"one", bytes(range(256)) * 5]
    write_records(tmp_path / "ours", records)
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(tmp_path / "ours"))] == records
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(tmp_path / "theirs"), options) as writer:
        for record in records:
            writer.write(record)
    assert list(read_records(tmp_path / "theirs", compressed=True)) == records
