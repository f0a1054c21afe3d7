"""Makes the five models, their hand-converted ONNX twins, requests and the right answers.

    PYTHON benchmarks/prediction/models.py FOLDER

Runs in the environment `convert`, which has what makes models; those that serve need not.

    FOLDER/NAME/model/       what is deployed
    FOLDER/NAME/onnx/        model.onnx, where a converter exists
    FOLDER/NAME/rows.json    {"instances": [...], "predictions": [...]} of the library's own call
"""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 512
_FEATURES = 30
_IMAGES = 8
_IMAGE_SIDE = 224


def main(folder: Path) -> None:
    """Write all models that are not there yet."""
    for name, make in _MODELS.items():
        if (folder / name / "rows.json").exists():
            continue
        print(f"making {name}", file=sys.stderr, flush=True)
        (folder / name / "model").mkdir(parents=True, exist_ok=True)
        (folder / name / "onnx").mkdir(exist_ok=True)
        instances, predictions = make(folder / name / "model", folder / name / "onnx")
        said = {"instances": instances, "predictions": predictions}
        (folder / name / "rows.json").write_text(json.dumps(said))


def _table(rows: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    x = random.normal(size=(4000 + rows, _FEATURES)).round(6)
    y = (x @ random.normal(size=_FEATURES) + random.normal(size=len(x)) > 0).astype(int)
    return x, y


def _sklearn(model: Any, folder: Path, onnx: Path) -> tuple[list[Any], list[Any]]:
    import joblib
    from skl2onnx import to_onnx

    x, y = _table(ROWS)
    model.fit(x[:4000], y[:4000])
    joblib.dump(model, folder / "model.joblib")
    converted = to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False})
    (onnx / "model.onnx").write_bytes(converted.SerializeToString())
    return x[4000:].tolist(), model.predict(x[4000:]).tolist()


def _logreg(folder: Path, onnx: Path) -> tuple[list[Any], list[Any]]:
    from sklearn.linear_model import LogisticRegression

    return _sklearn(LogisticRegression(max_iter=1000), folder, onnx)


def _forest(folder: Path, onnx: Path) -> tuple[list[Any], list[Any]]:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(100, max_depth=12, random_state=7)
    return _sklearn(model, folder, onnx)


def _xgboost(folder: Path, _onnx: Path) -> tuple[list[Any], list[Any]]:
    import xgboost

    x, y = _table(ROWS)
    params = {"objective": "binary:logistic", "max_depth": 6, "nthread": 1}
    booster = xgboost.train(params, xgboost.DMatrix(x[:4000], y[:4000]), 100)
    booster.save_model(folder / "model.bst")
    return x[4000:].tolist(), booster.predict(xgboost.DMatrix(x[4000:])).tolist()


def _wide_and_deep(folder: Path, onnx: Path) -> tuple[list[Any], list[Any]]:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(7)
    deep, wide = keras.Input((10,), name="deep"), keras.Input((20,), name="wide")
    hidden = deep
    for units in (64, 32):
        hidden = keras.layers.Dense(units, activation="relu")(hidden)
    out = keras.layers.Dense(1, activation="sigmoid", name="probability")(
        keras.layers.concatenate([hidden, wide])
    )
    model = keras.Model({"deep": deep, "wide": wide}, {"probability": out})

    @tf.function(input_signature=[tf.TensorSpec([None, 10], tf.float32, name="deep"),
                                  tf.TensorSpec([None, 20], tf.float32, name="wide")])  # fmt: skip
    def serve(deep: Any, wide: Any) -> Any:
        return {"probability": model({"deep": deep, "wide": wide})["probability"]}

    tf.saved_model.save(model, str(folder), signatures={"serving_default": serve})
    _tf2onnx(serve, onnx)
    x, _ = _table(ROWS)
    rows = x[4000:]
    values = serve(tf.constant(rows[:, :10], tf.float32), tf.constant(rows[:, 10:], tf.float32))
    instances = [{"deep": row[:10].tolist(), "wide": row[10:].tolist()} for row in rows]
    return instances, [{"probability": v} for v in values["probability"].numpy().tolist()]


def _cnn(folder: Path, onnx: Path) -> tuple[list[Any], list[Any]]:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(7)
    shape = (_IMAGE_SIDE, _IMAGE_SIDE, 3)
    model = keras.applications.MobileNetV2(weights=None, input_shape=shape, classes=10)
    random = np.random.default_rng(7)
    texts = [_jpeg(random) for _ in range(_IMAGES)]
    pixels = tf.stack([tf.io.decode_jpeg(text, 3) for text in texts])
    _enliven(model, tf.cast(pixels, tf.float32) / 127.5 - 1.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(image_bytes: Any) -> Any:
        # As Pillow decodes, which the peers have: others' pixels differ by a few.
        decoded = tf.map_fn(
            lambda one: tf.io.decode_jpeg(one, 3, dct_method="INTEGER_ACCURATE"), image_bytes,
            tf.uint8,
        )  # fmt: skip
        decoded.set_shape([None, *shape])
        return {"scores": model(tf.cast(decoded, tf.float32) / 127.5 - 1.0, training=False)}

    @tf.function(input_signature=[tf.TensorSpec([None, *shape], tf.float32, name="image")])
    def arithmetic(image: Any) -> Any:
        return {"scores": model(image, training=False)}

    tf.saved_model.save(model, str(folder), signatures={"serving_default": serve})
    _tf2onnx(arithmetic, onnx)
    values = serve(tf.constant(texts))["scores"].numpy().tolist()
    instances = [{"b64": base64.b64encode(text).decode()} for text in texts]
    return instances, [{"scores": v} for v in values]


def _jpeg(random: np.random.Generator) -> bytes:
    from PIL import Image

    coarse = random.integers(0, 255, (14, 14, 3), dtype=np.uint8)
    side = (_IMAGE_SIDE, _IMAGE_SIDE)
    picture = Image.fromarray(coarse).resize(side, Image.Resampling.BICUBIC)
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=85)
    return held.getvalue()


def _enliven(model: Any, images: Any) -> None:
    """Let each layer's outputs vary by what these images are.

    As it is made, the network all but forgets its input on the way through its 52 layers, and says
    a tenth of each class for any picture: nobody's mistakes would show.
    """
    import keras

    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)


def _tf2onnx(function: Any, onnx: Path) -> None:
    import tf2onnx

    tf2onnx.convert.from_function(
        function, function.input_signature, output_path=str(onnx / "model.onnx")
    )


_MODELS = {
    "logreg": _logreg,
    "forest": _forest,
    "xgboost": _xgboost,
    "wide-and-deep": _wide_and_deep,
    "cnn": _cnn,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
