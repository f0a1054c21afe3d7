import numpy as np
import tensorflow as tf


def read_and_decode(filenames, batch_size):
    """The queue runners of TensorFlow 1.0"""
    filename_queue = tf.train.string_input_producer(filenames, shuffle=True)
    reader = tf.TextLineReader()
    _, line = reader.read(filename_queue)
    columns = tf.decode_csv(line, record_defaults=[[0.0]] * 64 + [[0]])
    pixels = tf.stack(columns[:-1]) / 16.0
    return tf.train.shuffle_batch([pixels, columns[-1]], batch_size=batch_size,
                                  capacity=1000, min_after_dequeue=300)


def weight_variable(name, shape):
    return tf.get_variable(name, shape, initializer=tf.truncated_normal_initializer(stddev=0.1))


def inference(images, hidden1_units):
    with tf.variable_scope('hidden1'):
        weights = weight_variable('weights', [64, hidden1_units])
        biases = tf.Variable(tf.zeros([hidden1_units]), name='biases')
        hidden1 = tf.nn.relu(tf.matmul(images, weights) + biases)
    with tf.variable_scope('softmax_linear'):
        weights = weight_variable('weights', [hidden1_units, 10])
        biases = tf.Variable(tf.zeros([10]), name='biases')
        logits = tf.matmul(hidden1, weights) + biases
    return logits


def loss(logits, labels):
    labels = tf.to_int64(labels)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=logits))


def training(total, learning_rate, global_step):
    rate = tf.train.exponential_decay(learning_rate, global_step, 200, 0.9, staircase=True)
    tf.summary.scalar('loss', total)
    optimizer = tf.train.AdamOptimizer(rate)
    return optimizer.minimize(total, global_step=global_step)


def evaluation(sess, logits, images, path):
    table = np.loadtxt(path, delimiter=',').astype(np.float)
    predicted = sess.run(logits, feed_dict={images: table[:, :-1] / 16.0})
    return np.mean(np.argmax(predicted, 1) == table[:, -1])
