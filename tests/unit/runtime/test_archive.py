"""Files of plain numbers: what was kept is read again, and nothing in them is ever run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from mlengine.runtime.shortcuts.archive import read_archive, write_archive

names = st.from_regex(r"[a-z][a-z0-9_]{0,9} ?[A-Zé]?", fullmatch=True).filter(
    lambda name: name not in ("about", "file", "allow_pickle")  # the last two are numpy's own
)
dtypes = st.sampled_from(["f4", "f8", ">f8", "i1", "i8", "u4", "?", "U3", "f4,u4"]).map(np.dtype)
arrays = dtypes.flatmap(
    lambda dtype: arrays_of.arrays(
        dtype, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    )
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Writes:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archives") / "kept.npz"


@given(values, st.dictionaries(names, arrays, max_size=4), st.booleans())
def test_what_was_kept_is_read_again(
    file: Path, about: Any, kept: dict[str, np.ndarray], turned: bool
) -> None:
    if turned:
        kept = {name: array.T for name, array in kept.items()}
    write_archive(file, about, kept)
    said, read = read_archive(file)
    assert said == about
    assert read.keys() == kept.keys()
    for name, array in kept.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes()


def test_objects_are_not_written(tmp_path: Path) -> None:
    held = np.array([Writes(tmp_path / "made")], object)
    for array in (held, np.array([(held,)], [("field", object)])):
        with pytest.raises(ValueError, match="Object arrays cannot be saved"):
            write_archive(tmp_path / "kept", {}, {"array": array})


@pytest.mark.parametrize("name", ["other", "about"])
def test_a_pickle_among_the_arrays_is_refused_and_not_loaded(tmp_path: Path, name: str) -> None:
    made = tmp_path / "made"
    members = {"about": np.frombuffer(b"{}", np.uint8), name: np.array([Writes(made)], object)}
    with (tmp_path / "kept.npz").open("wb") as out:
        np.savez(out, **members)
    with pytest.raises(ValueError, match=r"no archive of numbers.*allow_pickle"):
        read_archive(tmp_path / "kept.npz")
    assert not made.exists()
    with np.load(tmp_path / "kept.npz", allow_pickle=True) as loaded:
        assert len(loaded[name]) == 1
    assert made.exists()  # it would have done it


def test_what_is_a_pickle_as_a_whole_is_refused_and_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "kept.npz").write_bytes(pickle.dumps(Writes(tmp_path / "made")))
    with pytest.raises(ValueError, match="no archive of numbers"):
        read_archive(tmp_path / "kept.npz")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("members", [
    {}, {"about": np.frombuffer(b"{", np.uint8)}, {"about": np.frombuffer(b"\xff", np.uint8)},
    {"about": np.zeros(1)}, {"other": np.zeros(3)},
], ids=str)  # fmt: skip
def test_an_archive_that_says_nothing_of_itself_is_refused(
    tmp_path: Path, members: dict[str, np.ndarray]
) -> None:
    np.savez(tmp_path / "kept.npz", **members)
    with pytest.raises(ValueError, match="no archive of numbers"):
        read_archive(tmp_path / "kept.npz")


def test_one_array_alone_is_no_archive(tmp_path: Path) -> None:
    with (tmp_path / "kept").open("wb") as out:
        np.save(out, np.zeros(3))
    with pytest.raises(ValueError, match="no archive of numbers"):
        read_archive(tmp_path / "kept")


def test_what_cannot_be_opened_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_archive(tmp_path / "none")
    with pytest.raises(ValueError, match=r"no archive of numbers.*directory"):
        read_archive(tmp_path)


@given(st.integers(0, 2000), st.binary(max_size=40))
def test_a_damaged_archive_is_refused_or_read(file: Path, place: int, junk: bytes) -> None:
    said = {"a": [1, 2.5]}
    write_archive(file, said, {"b": np.arange(6.0).reshape(2, 3)})
    whole = file.read_bytes()
    file.write_bytes(whole[:place] + junk + whole[place + len(junk) :])
    try:
        about, _read = read_archive(file)
    except (ValueError, OSError):  # the latter of a place before the file's beginning
        return
    assert about == said
