"""Damages model files: by their bytes, and, where a format is known, by its fields."""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["mutants"]

_VALUES: list[Any] = [0, -1, 1, 2**31, -(2**63), 1e308, "", "x", "nan", [], {}, None, True, [[]]]


def mutants(original: Path, folder: Path, count: int, seed: int) -> list[str]:
    """Write so many damaged copies of a model directory; return their folders."""
    chance = random.Random(seed)
    files = sorted(p for p in original.rglob("*") if p.is_file() and p.stat().st_size)
    names = []
    for number in range(count):
        made = folder / str(number)
        shutil.copytree(original, made)
        file = chance.choice(files)
        target = made / file.relative_to(original)
        target.write_bytes(_damaged(file, chance))
        names.append(str(made))
    return names


def _damaged(file: Path, chance: random.Random) -> bytes:
    data = file.read_bytes()
    by_field: dict[str, Callable[[bytes, random.Random], bytes]] = {
        ".json": _json, ".onnx": _onnx, ".keras": _keras,
    }  # fmt: skip
    change = by_field.get(file.suffix)
    if change is not None and chance.random() < 0.6:
        return change(data, chance)
    return _bytes(data, chance)


def _bytes(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    if chance.random() < 0.1:
        del changed[chance.randrange(len(changed)) :]
    return bytes(changed)


def _json(data: bytes, chance: random.Random) -> bytes:
    whole = json.loads(data)
    at: Any = whole
    while True:
        keys: list[Any] = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = chance.choice(keys)
        inner = at[key]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.1:
            break
        at = inner
    if chance.random() < 0.2:
        del at[key]
    elif isinstance(inner, str) and chance.random() < 0.5:
        at[key] = _bytes(inner.encode() or b"0", chance).decode(errors="replace")
    else:
        at[key] = chance.choice(_VALUES)
    return json.dumps(whole).encode()


def _onnx(data: bytes, chance: random.Random) -> bytes:
    import onnx

    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    node = chance.choice(graph.node)
    deed = chance.randrange(6)
    if deed == 0 and node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice(["", "x", node.output[0]])
    elif deed == 1:
        node.op_type = chance.choice([n.op_type for n in graph.node] + ["Loop", "Nope"])
    elif deed == 2 and node.attribute:
        attribute = chance.choice(node.attribute)
        attribute.i, attribute.type = chance.choice([-1, 2**40]), chance.randrange(1, 12)
    elif deed == 3 and graph.initializer:
        tensor = chance.choice(graph.initializer)
        tensor.dims[:] = [chance.choice([0, -1, 2**40, 3])]
    elif deed == 4 and graph.initializer:
        tensor = chance.choice(graph.initializer)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", chance.choice(["../../etc/passwd", "/etc/passwd"])
        size = tensor.external_data.add()
        size.key, size.value = "length", "1000000000000000"
    else:
        graph.node.append(node)
    whole: bytes = model.SerializeToString()
    return whole


def _keras(data: bytes, chance: random.Random) -> bytes:
    """Change one file of the archive, and leave the archive itself whole."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        chosen = chance.choice(old.namelist())
        for name in old.namelist():
            inner = old.read(name)
            if name == chosen and inner:
                inner = (_json if name.endswith(".json") else _bytes)(inner, chance)
            new.writestr(name, inner)
    return out.getvalue()
