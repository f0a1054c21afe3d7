"""TensorFlow 1 as its trainers knew it, over TensorFlow 2.15.

The folder above this package is on `sys.path` of the environment that stands in for runtime `1.15`
where no Python 3.7 is found; a line of a `.pth` file there imports `mlengine_tf1.start`. That
costs about 15 ms: it puts one finder in front of the import system. TensorFlow is loaded
when the trainer asks for it, and then gets

- the `compat.v1` names as its own, and v2 behaviour off (`names`);
- Keras 2 with the optimizers of its time, under every path it had (`names`, `paths`);
- a `tf.contrib` with what trainers use, and errors that say where the rest is (`contrib`).

`numpy` gets back the aliases that it dropped, pandas its `as_matrix`, scikit-learn its
`externals.joblib` and `externals.six`.

Nothing here imports mlengine: it runs in environments that do not have it, on Python 3.9 to 3.11.
"""
