import os

import tensorflow as tf
import tensorflow.contrib.slim as slim

from trainer import model

tf.app.flags.DEFINE_string('train_files', None, '')
tf.app.flags.DEFINE_string('eval_files', None, '')
tf.app.flags.DEFINE_string('train_dir', '/tmp/tfmodel/', 'Directory for checkpoints and events.')
tf.app.flags.DEFINE_integer('max_number_of_steps', 300, '')
FLAGS = tf.app.flags.FLAGS


def parse(line):
  columns = tf.decode_csv(line, [[0.0]] * 64 + [[0]])
  return tf.reshape(tf.stack(columns[:-1]) / 16.0, [8, 8, 1]), columns[-1]


def batches(pattern, training):
  dataset = tf.data.TextLineDataset(tf.gfile.Glob(pattern))
  if training:
    dataset = dataset.apply(tf.contrib.data.shuffle_and_repeat(1000))
  dataset = dataset.apply(tf.contrib.data.map_and_batch(parse, 64))
  return dataset.make_one_shot_iterator().get_next()


def train():
  with tf.Graph().as_default():
    tf.set_random_seed(2)
    images, labels = batches(FLAGS.train_files, True)
    with slim.arg_scope(model.arg_scope()):
      logits = model.lenet(images, True)
    slim.losses.softmax_cross_entropy(logits, slim.one_hot_encoding(labels, 10))
    total_loss = slim.losses.get_total_loss()
    tf.summary.scalar('losses/total_loss', total_loss)
    optimizer = tf.train.MomentumOptimizer(0.02, 0.9)
    train_op = slim.learning.create_train_op(total_loss, optimizer)
    slim.learning.train(train_op, FLAGS.train_dir, log_every_n_steps=100,
                        number_of_steps=FLAGS.max_number_of_steps, save_summaries_secs=30)


def evaluate():
  with tf.Graph().as_default():
    images, labels = batches(FLAGS.eval_files, False)
    with slim.arg_scope(model.arg_scope()):
      logits = model.lenet(images, False)
    names_to_values, names_to_updates = slim.metrics.aggregate_metric_map({
        'accuracy': slim.metrics.streaming_accuracy(tf.argmax(logits, 1), labels)})
    checkpoint = tf.train.latest_checkpoint(FLAGS.train_dir)
    restore = slim.assign_from_checkpoint_fn(checkpoint, slim.get_variables_to_restore())
    with tf.Session() as sess:
      sess.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
      restore(sess)
      try:
        while True:
          sess.run(list(names_to_updates.values()))
      except tf.errors.OutOfRangeError:
        pass
      print('accuracy: %.4f' % sess.run(names_to_values['accuracy']))


def export():
  with tf.Graph().as_default(), tf.Session() as sess:
    images = tf.placeholder(tf.float32, [None, 8, 8, 1])
    with slim.arg_scope(model.arg_scope()):
      logits = model.lenet(images, False)
    tf.train.Saver().restore(sess, tf.train.latest_checkpoint(FLAGS.train_dir))
    tf.saved_model.simple_save(sess, os.path.join(FLAGS.train_dir, 'export'),
                               inputs={'images': images},
                               outputs={'classes': tf.argmax(logits, 1)})


def main(_):
  tf.logging.set_verbosity(tf.logging.INFO)
  train()
  evaluate()
  export()


if __name__ == '__main__':
  tf.app.run()
