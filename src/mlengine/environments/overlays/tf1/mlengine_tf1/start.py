"""What the environment's `.pth` line imports: put the finder in place, load nothing."""

from __future__ import annotations

from .finder import install

install()
