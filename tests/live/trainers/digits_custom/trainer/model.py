#!/usr/bin/python
import tensorflow as tf

tf.logging.set_verbosity(tf.logging.INFO)


def cnn_model_fn(features, labels, mode, params):
    """Two convolutions and a dense layer on 8x8 digits"""
    input_layer = tf.reshape(features['pixels'], [-1, 8, 8, 1])
    conv1 = tf.layers.conv2d(inputs=input_layer, filters=16, kernel_size=[3, 3],
                             padding='same', activation=tf.nn.relu)
    pool1 = tf.layers.max_pooling2d(inputs=conv1, pool_size=[2, 2], strides=2)
    conv2 = tf.layers.conv2d(pool1, 32, [3, 3], padding='same')
    conv2 = tf.layers.batch_normalization(
        conv2, training=mode == tf.estimator.ModeKeys.TRAIN)
    flat = tf.layers.flatten(tf.nn.relu(conv2))
    dense = tf.layers.dense(flat, 64, activation=tf.nn.relu,
                            kernel_regularizer=tf.contrib.layers.l2_regularizer(1e-4),
                            kernel_initializer=tf.contrib.layers.xavier_initializer())
    dropout = tf.layers.dropout(dense, rate=0.4,
                                training=mode == tf.estimator.ModeKeys.TRAIN)
    logits = tf.layers.dense(inputs=dropout, units=10)
    predictions = {
        'classes': tf.argmax(input=logits, axis=1),
        'probabilities': tf.nn.softmax(logits, name='softmax_tensor'),
    }
    if mode == tf.estimator.ModeKeys.PREDICT:
        return tf.estimator.EstimatorSpec(
            mode=mode, predictions=predictions,
            export_outputs={
                tf.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY:
                    tf.estimator.export.PredictOutput(predictions)})

    loss = tf.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)
    loss += tf.losses.get_regularization_loss()
    accuracy = tf.metrics.accuracy(labels=labels, predictions=predictions['classes'])
    tf.summary.scalar('accuracy', accuracy[1])

    if mode == tf.estimator.ModeKeys.TRAIN:
        update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        with tf.control_dependencies(update_ops):
            train_op = tf.contrib.layers.optimize_loss(
                loss=loss,
                global_step=tf.contrib.framework.get_global_step(),
                learning_rate=params['learning_rate'],
                optimizer='Adam',
                summaries=['learning_rate', 'loss', 'gradients', 'gradient_norm'])
        return tf.estimator.EstimatorSpec(mode=mode, loss=loss, train_op=train_op)
    return tf.estimator.EstimatorSpec(
        mode=mode, loss=loss, eval_metric_ops={'accuracy': accuracy})


def serving_input_fn():
    inputs = {'pixels': tf.placeholder(tf.float32, [None, 64])}
    return tf.estimator.export.ServingInputReceiver(inputs, inputs)
