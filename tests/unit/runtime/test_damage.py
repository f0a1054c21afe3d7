"""What is found of a damaged model before its libraries are there: never a sound one's fault."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from mlengine.runtime.artifact import detect
from mlengine.runtime.damage import damage_of

MODEL = {"coef": list(range(2000)), "_sklearn_version": "1.3.2"}
# A version number, then a message: the fields of a SavedModel; and one of each other wire type.
MESSAGE = b"\x08\x01\x12\xac\x02" + b"m" * 300 + b"\x19" + bytes(8) + b"\x25" + bytes(4)


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("config.json", "{}")
    return out.getvalue()


def dumped(value: Any, compress: Any = 0) -> bytes:
    out = io.BytesIO()
    joblib.dump(value, out, compress=compress)
    return out.getvalue()


def damage(folder: Path, file: str, content: bytes, framework: str = "") -> str:
    (folder / file).write_bytes(content)
    return damage_of(folder, detect([file], framework, where="here"), framework)


SOUND = {
    **{f"a pickle of protocol {n}": ("model.pkl", pickle.dumps(MODEL, n)) for n in range(6)},
    "arrays in a pickle": ("model.joblib", dumped([np.arange(9), MODEL])),
    **{
        f"packed by {how}": ("model.joblib", dumped(MODEL, (how, 3)))
        for how in ("zlib", "gzip", "bz2", "lzma", "xz")
    },
    "a SavedModel": ("saved_model.pb", MESSAGE),
    "a SavedModel as text": ("saved_model.pbtxt", b"saved_model_schema_version: 1"),
    "an ONNX model": ("model.onnx", MESSAGE),
    "a Keras model": ("model.keras", zipped()),
    "a Keras model in HDF5": ("model.keras", b"\x89HDF\r\n\x1a\nand more"),
    "a booster": ("model.bst", b"any bytes"),
    "a booster in JSON": ("model.json", b'\n{"learner": {}}'),
    "a booster in UBJSON": ("model.ubj", b"{L"),
}


@pytest.mark.parametrize(("file", "content"), SOUND.values(), ids=SOUND)
def test_nothing_is_said_of_what_may_be_sound(tmp_path: Path, file: str, content: bytes) -> None:
    assert damage(tmp_path, file, content) == ""
    assert damage(tmp_path, file, b"") == f"{file} is empty."


DAMAGED = {
    "a page for a pickle": ("model.joblib", b"<html>", "is no pickle."),
    "a pickle cut short": (
        "model.pkl", pickle.dumps(MODEL)[:300], "is not whole: it has 300 bytes of at least ",
    ),
    "a page for a SavedModel": ("saved_model.pb", b"<html>", "is no protocol buffer, "),
    "JSON for an ONNX model": ("model.onnx", b'{"a": 1}', "is no protocol buffer, or not whole."),
    "a SavedModel cut short": ("saved_model.pb", MESSAGE[:200], "is no protocol buffer, or not "),
    "a number cut short": ("saved_model.pb", b"\x08\x80", "is no protocol buffer, or not whole."),
    "zeros": ("saved_model.pb", bytes(9), "is no protocol buffer, or not whole."),
    "a Keras model cut short": ("model.keras", zipped()[:60], "is no zip file, or not whole."),
    "a booster that is no JSON": ("model.json", b"binf", "is no JSON or UBJSON object."),
}  # fmt: skip


@pytest.mark.parametrize(("file", "content", "said"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_said(tmp_path: Path, file: str, content: bytes, said: str) -> None:
    assert damage(tmp_path, file, content).startswith(f"{file} {said}")


def test_a_booster_may_have_the_name_of_a_pickle(tmp_path: Path) -> None:
    assert damage(tmp_path, "model.pkl", b"\x00binf", "XGBOOST") == ""
    assert damage(tmp_path, "model.pkl", b"\x00binf") == "model.pkl is no pickle."


def test_a_message_is_whole_only_where_a_field_ends(tmp_path: Path) -> None:
    cuts = range(1, len(MESSAGE) + 1)
    whole = [at for at in cuts if not damage(tmp_path, "saved_model.pb", MESSAGE[:at])]
    assert whole == [2, 305, 314, 319]
