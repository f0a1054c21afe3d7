"""Pictures that a SavedModel decodes itself, decoded without TensorFlow: to the same pixels.

    image_bytes ─▶ libjpeg-turbo ─▶ ONNX: what is done to each picture ─▶ ONNX: the network
    anything but plain JPEG files ─▶ the TensorFlow graph ──────────────▶

TensorFlow asks libjpeg-turbo too, so the pixels are equal to the last bit once it is asked for the
same inverse transform and upsampling. Everything else (PNG, GIF, four colours, a damaged file, a
size that the network does not take) is the graph's, which is opened by the first request that
needs it: what it refuses, it refuses in its own words.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mlengine.runtime.frameworks import library
from mlengine.runtime.frameworks.onnxsession import Mapped, open_session
from mlengine.runtime.frameworks.tensors import TensorSpec

__all__ = ["MADE", "PICTURE", "Decoding", "Graph", "PictureReader", "later"]

Graph = Callable[[Mapping[str, Any]], dict[str, np.ndarray]]
"""Makes columns of columns."""

PICTURE, MADE = "picture:0", "made:0"
_COLOURS = {"Gray": 1, "YCbCr": 3}
_SPACES = {1: "GRAY", 3: "RGB"}
_LARGEST_PIXELS = 1 << 26


def later(opened: Callable[[], Graph]) -> Graph:
    """Return a graph that is opened when it is first asked; several threads may ask it."""
    lock = threading.Lock()
    known: list[Graph] = []

    def graph(columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        with lock:
            if not known:
                known.append(opened())
        return known[0](columns)

    return graph


class Decoding(msgspec.Struct, frozen=True, kw_only=True):
    """How pictures become columns of the arithmetic.

    Attributes:
        column: The column that holds the files.
        channels: 1 or 3; 0: as many as the file has.
        exact: Whether the inverse transform is the accurate one; else the fast one.
        smooth: Whether colours are interpolated where a file has fewer of them than pixels.
        onnx: File of what is done to each picture, from `PICTURE` to `MADE`; empty: nothing.
    """

    column: str
    channels: int
    exact: bool
    smooth: bool
    onnx: str = ""


class PictureReader:
    """Makes the column of a network's pictures, as its graph does.

    Args:
        directory: The compiled form.
        decoding: How they are decoded.
        gives: The column that is made.
        graph: Makes it of what is no plain JPEG.
        mapped: Decodes several pictures at a time, as `map` one after the other.

    Raises:
        PredictionError: Class 0: a library is missing.
    """

    def __init__(
        self, directory: Path, decoding: Decoding, gives: TensorSpec, graph: Graph,
        mapped: Mapped = map,
    ) -> None:  # fmt: skip
        with library("compile"):
            import simplejpeg
        self._jpeg = simplejpeg
        self._decoding, self._gives = decoding, gives
        self._each = open_session(directory / decoding.onnx, threads=1) if decoding.onnx else None
        self._graph, self._mapped = graph, mapped

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the column, under its name.

        Raises:
            PredictionError: As the graph.
        """
        made = self.read(columns[self._decoding.column])
        if made is not None:
            return {self._gives.name: made}
        return self._graph(columns)

    def read(self, files: np.ndarray) -> np.ndarray | None:
        """Return the pictures of plain JPEG files, stacked; None if one of them is anything else.

        Args:
            files: Bytes each, in one dimension.
        """
        if files.ndim != 1 or not len(files):
            return None
        found: list[np.ndarray] = []
        for picture in (self._mapped if len(files) > 1 else map)(self._picture, files):
            if picture is None or picture.shape != (found[0] if found else picture).shape:
                return None
            found.append(picture)
        return np.stack(found) if self._fits(found[0]) else None

    def _picture(self, file: Any) -> np.ndarray | None:
        if not isinstance(file, bytes) or not self._jpeg.is_jpeg(file):
            return None
        asked = self._decoding
        try:
            height, width, colours, _ = self._jpeg.decode_jpeg_header(file)
            known = _COLOURS.get(colours, 0)
            if not known or int(height) * int(width) > _LARGEST_PIXELS:
                return None
            pixels = self._jpeg.decode_jpeg(
                file, _SPACES[asked.channels or known],
                fastdct=not asked.exact, fastupsample=not asked.smooth,
            )  # fmt: skip
        except ValueError:  # damaged: libjpeg-turbo says more or less of it than TensorFlow does
            return None
        return np.asarray(pixels) if self._each is None else self._done_with(pixels)

    def _done_with(self, pixels: np.ndarray) -> np.ndarray | None:
        assert self._each is not None
        try:
            (made,) = self._each.run([MADE], {PICTURE: pixels})
        except MemoryError:
            raise
        except Exception:  # of many classes; the graph does it, or says why not
            return None
        return np.asarray(made)

    def _fits(self, picture: np.ndarray) -> bool:
        wanted = self._gives.shape
        if picture.dtype != self._gives.dtype or len(wanted or (0,) * 4) != picture.ndim + 1:
            return False
        return wanted is None or all(
            a in (None, b) for a, b in zip(wanted[1:], picture.shape, strict=True)
        )
