"""Trains a small Keras model to tell the colour of a photograph, and takes one.

python train.py MODEL_DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from colours.predictor import NAMES, SIDE


def main(model_dir: Path) -> None:
    keras.utils.set_random_seed(7)
    target = np.arange(120) % len(NAMES)
    images = np.random.default_rng(7).uniform(0.0, 0.5, (len(target), SIDE, SIDE, 3))
    images[np.arange(len(target)), :, :, target] += 0.5
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(len(NAMES), activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.3), "sparse_categorical_crossentropy")
    model.fit(images, target, epochs=10, verbose=0)
    model_dir.mkdir(parents=True, exist_ok=True)
    model.save(model_dir / "model.keras")
    photograph = np.full((48, 64, 3), (220, 40, 30), dtype=np.uint8)
    Path("photograph.jpg").write_bytes(tf.io.encode_jpeg(photograph).numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
