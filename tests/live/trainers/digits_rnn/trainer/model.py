import tensorflow as tf
from tensorflow.contrib import layers, rnn
from tensorflow.contrib.learn.python.learn.estimators import model_fn as model_fn_lib


def lstm_model(features, targets, mode, params):
    """A digit read row by row; contrib's own model function."""
    rows = tf.unstack(tf.reshape(features, [-1, 8, 8]), axis=1)
    cell = rnn.MultiRNNCell([rnn.BasicLSTMCell(32), rnn.GRUCell(32)])
    outputs, _ = rnn.static_rnn(cell, rows, dtype=tf.float32)
    hidden = layers.fully_connected(outputs[-1], 32, activation_fn=tf.nn.relu)
    logits = layers.fully_connected(hidden, 10, activation_fn=None)
    predictions = {'classes': tf.argmax(logits, 1), 'probabilities': tf.nn.softmax(logits)}
    loss, train_op = None, None
    if mode != tf.contrib.learn.ModeKeys.INFER:
        loss = tf.losses.softmax_cross_entropy(tf.one_hot(targets, 10), logits)
    if mode == tf.contrib.learn.ModeKeys.TRAIN:
        train_op = layers.optimize_loss(
            loss, tf.contrib.framework.get_or_create_global_step(),
            learning_rate=params.learning_rate, optimizer='Adam', clip_gradients=5.0)
    return model_fn_lib.ModelFnOps(
        mode=mode, predictions=predictions, loss=loss, train_op=train_op)
