import tensorflow as tf
import tensorflow.contrib.slim as slim


def arg_scope(weight_decay=0.0005):
  with slim.arg_scope([slim.conv2d, slim.fully_connected],
                      activation_fn=tf.nn.relu,
                      weights_initializer=tf.truncated_normal_initializer(stddev=0.1),
                      weights_regularizer=slim.l2_regularizer(weight_decay)) as sc:
    return sc


def lenet(images, is_training, scope='LeNet'):
  with tf.variable_scope(scope, 'LeNet', [images]):
    net = slim.conv2d(images, 16, [3, 3], scope='conv1',
                      normalizer_fn=slim.batch_norm,
                      normalizer_params={'is_training': is_training, 'decay': 0.9})
    net = slim.max_pool2d(net, [2, 2], 2, scope='pool1')
    net = slim.repeat(net, 2, slim.conv2d, 16, [3, 3], scope='conv2')
    net = slim.flatten(net)
    net = slim.fully_connected(net, 64, scope='fc3')
    net = slim.dropout(net, 0.8, is_training=is_training, scope='dropout3')
    return slim.fully_connected(net, 10, activation_fn=None, scope='logits')
