"""Sizes as people read them."""

from __future__ import annotations

__all__ = ["size_text"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size_text(size_bytes: int) -> str:
    """Write a size for people, in powers of 1024 as gsutil does.

    Example:
        >>> size_text(1536), size_text(3), size_text(2**20 - 1)
        ('1.5 KiB', '3 B', '1.0 MiB')
    """
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size, unit = float(size_bytes), ""
    for unit in _UNITS:
        if round(size, 1) < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.1f} {unit}"
