"""Uses of tf.contrib that trainers make, each with what it comes to: the same on every runtime."""

import os
import tempfile

import numpy as np
import tensorflow as tf
from sklearn import datasets
from tensorflow.contrib import learn, lookup, opt, predictor, rnn, tpu
from tensorflow.contrib import estimator as ce

x, y = datasets.load_iris(return_X_y=True)
x = x.astype(np.float32)
y = y.astype(np.int32)


def case(f):
    with tf.Graph().as_default():
        print("ANSWER", f.__name__, f())


@case
def linear_arrays():
    c = learn.LinearClassifier(
        feature_columns=learn.infer_real_valued_columns_from_input(x),
        n_classes=3,
        config=learn.RunConfig(tf_random_seed=1),
    )
    c.fit(x, y, steps=200, batch_size=30)
    p = list(c.predict_classes(x[:3])) if hasattr(c, "predict_classes") else list(c.predict(x[:3]))
    return float(c.evaluate(x, y, steps=1)["accuracy"]) > 0.6, [int(v) for v in p]


@case
def dnn_sk():
    c = learn.SKCompat(
        learn.DNNClassifier(
            feature_columns=learn.infer_real_valued_columns_from_input(x),
            hidden_units=[10],
            n_classes=3,
            optimizer=tf.train.AdamOptimizer(0.05),
            config=learn.RunConfig(tf_random_seed=1),
        )
    )
    c.fit(x, y, steps=200, batch_size=30)
    out = c.predict(x)
    return sorted(out) if isinstance(out, dict) else (type(out).__name__, out.shape), float(
        c.score(x, y, steps=1)["accuracy"]
    ) > 0.8


@case
def table():
    t = lookup.HashTable(
        lookup.KeyValueTensorInitializer(tf.constant(["a"]), tf.constant([3], tf.int64)), -1
    )
    i = lookup.index_table_from_tensor(mapping=tf.constant(["a", "b"]), num_oov_buckets=1)
    r = lookup.index_to_string_table_from_tensor(tf.constant(["a", "b"]))
    with tf.Session() as s:
        t.init.run()
        s.run(tf.tables_initializer())
        return s.run(
            [
                t.lookup(tf.constant(["a", "z"])),
                i.lookup(tf.constant(["b", "q"])),
                r.lookup(tf.constant([1, 9], tf.int64)),
            ]
        )


@case
def rnns():
    inp = tf.ones([2, 5, 3])
    o, f, b = rnn.stack_bidirectional_dynamic_rnn(
        [rnn.LSTMBlockCell(4), rnn.LSTMCell(4)],
        [rnn.GRUCell(4), rnn.LSTMCell(4)],
        inp,
        dtype=tf.float32,
    )
    cell = rnn.OutputProjectionWrapper(rnn.BasicRNNCell(4), 2)
    p, _ = tf.nn.dynamic_rnn(cell, inp, dtype=tf.float32)
    w = rnn.DropoutWrapper(rnn.MultiRNNCell([rnn.BasicLSTMCell(4), rnn.BasicLSTMCell(4)]), 0.5)
    q, _ = tf.nn.dynamic_rnn(w, inp, dtype=tf.float32, scope="q")
    return (
        o.shape.as_list(),
        p.shape.as_list(),
        q.shape.as_list(),
        sorted(v.name for v in tf.trainable_variables())[:3],
    )


@case
def adamw():
    v = tf.get_variable("v", initializer=[1.0, 2.0])
    t = opt.AdamWOptimizer(weight_decay=0.1, learning_rate=0.0).minimize(tf.reduce_sum(v * v))
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        s.run(t)
        return s.run(v).tolist()


@case
def clipped():
    v = tf.get_variable("v", initializer=[3.0, 4.0])
    o = ce.clip_gradients_by_norm(tf.train.GradientDescentOptimizer(1.0), 1.0)
    t = o.minimize(tf.reduce_sum(v * v))
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        s.run(t)
        return [round(float(a), 4) for a in s.run(v)]


@case
def forward():
    col = [tf.feature_column.numeric_column("x", shape=4)]
    e = ce.forward_features(tf.estimator.LinearClassifier(col, n_classes=3), "key")
    i = tf.estimator.inputs.numpy_input_fn(
        {"x": x, "key": np.arange(150)}, y, shuffle=False, batch_size=50
    )
    e.train(i, steps=2)
    p = next(iter(e.predict(i)))

    def serve():
        r = {"x": tf.placeholder(tf.float32, [None, 4]), "key": tf.placeholder(tf.int64, [None])}
        return tf.estimator.export.ServingInputReceiver(r, r)

    out = e.export_savedmodel(tempfile.mkdtemp(), serve)
    f = predictor.from_saved_model(out.decode(), signature_def_key="predict")
    g = predictor.from_estimator(e, serve, output_key="predict")
    a = f({"x": x[:2], "key": [7, 8]})
    b = g({"x": x[:2], "key": [7, 8]})
    return int(p["key"]), a["key"].tolist(), np.allclose(a["logits"], b["logits"]), sorted(a)


@case
def tpuest():
    def fn(features, labels, mode, params):
        l = tf.layers.dense(features["x"], 3)
        loss = tf.losses.sparse_softmax_cross_entropy(labels, l)
        o = tf.train.AdamOptimizer(0.1)
        return tpu.TPUEstimatorSpec(
            mode=mode, loss=loss, train_op=o.minimize(loss, tf.train.get_global_step())
        )

    e = tpu.TPUEstimator(
        fn,
        use_tpu=False,
        train_batch_size=10,
        config=tpu.RunConfig(
            model_dir=tempfile.mkdtemp(), tpu_config=tpu.TPUConfig(iterations_per_loop=10)
        ),
    )
    e.train(
        lambda params: (
            tf.data.Dataset.from_tensor_slices(({"x": x}, y))
            .apply(tf.contrib.data.batch_and_drop_remainder(params["batch_size"]))
            .repeat()
        ),
        max_steps=5,
    )
    return e.latest_checkpoint().endswith("5")


@case
def kmeans():
    k = tf.contrib.factorization.KMeansClustering(3, use_mini_batch=False)
    k.train(lambda: tf.train.limit_epochs(tf.constant(x), num_epochs=1))
    return k.cluster_centers().shape


@case
def vocab():
    v = learn.preprocessing.VocabularyProcessor(4)
    return [r.tolist() for r in v.fit_transform(["the cat sat", "the dog sat down low"])], len(
        v.vocabulary_
    )


@case
def hp():
    h = tf.contrib.training.HParams(a=1, b=[1.0, 2.0], c="x")
    h.parse("a=3,b=[4,5],c=foo/bar")
    return h.values(), str(h)


@case
def csvds():
    p = os.path.join(tempfile.mkdtemp(), "a.csv")
    open(p, "w").write("a,b\n1,2\n3,4\n")
    d = tf.contrib.data.make_csv_dataset(
        p, batch_size=2, label_name="b", shuffle=False, num_epochs=1
    )
    with tf.Session() as s:
        f, l = s.run(d.make_one_shot_iterator().get_next())
        return {k: v.tolist() for k, v in f.items()}, l.tolist()
