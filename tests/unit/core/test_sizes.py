"""Sizes for people."""

from __future__ import annotations

from mlengine.core.sizes import size_text


def test_sizes_are_those_of_powers_of_1024() -> None:
    sizes = [0, 1023, 1024, 1587, 1024**2 - 1, 1024**2, 5 * 1024**3, 1024**6]
    assert [size_text(size) for size in sizes] == [
        "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 MiB", "5.0 GiB", "1024.0 PiB",
    ]  # fmt: skip
