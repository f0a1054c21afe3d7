from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.storage.gcs.crc32c import crc32c, crc32c_text


def bit_by_bit(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _bit in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_what_rfc_3720_says_of_32_bytes() -> None:
    assert crc32c([bytes(32)]) == 0x8A9136AA
    assert crc32c([b"\xff" * 32]) == 0x62A8AB43
    assert crc32c([bytes(range(32))]) == 0x46DD794E


def test_cloud_storage_writes_it_as_base64_of_the_highest_byte_first() -> None:
    assert crc32c_text([b"hello"]) == "mnG7TA=="
    assert crc32c_text([]) == "AAAAAA=="


@given(data=st.binary(max_size=2000), cut=st.integers(0, 2000))
def test_it_is_the_same_in_whatever_pieces(data: bytes, cut: int) -> None:
    assert crc32c([data[:cut], data[cut:]]) == crc32c([data]) == bit_by_bit(data)


@pytest.mark.parametrize("size", [710, 711, 712, 1422, 5685, 22740, 45481])
def test_folding_keeps_the_remainder_at_every_doubling(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert crc32c([data]) == bit_by_bit(data)


def test_a_block_of_a_mebibyte_leads_on_to_the_next() -> None:
    google = pytest.importorskip("google_crc32c")
    data = random.Random(7).randbytes((2 << 20) + 77)
    assert crc32c([data]) == google.value(data)
