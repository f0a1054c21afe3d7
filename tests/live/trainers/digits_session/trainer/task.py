import json
import os

import tensorflow as tf
from tensorflow.python.saved_model import builder as saved_model_builder
from tensorflow.python.saved_model import signature_constants
from tensorflow.python.saved_model import signature_def_utils
from tensorflow.python.saved_model import tag_constants
from tensorflow.python.saved_model import utils

import trainer.model as model

flags = tf.app.flags
FLAGS = flags.FLAGS
flags.DEFINE_string('train_files', '', 'Comma separated.')
flags.DEFINE_string('eval_file', '', '')
flags.DEFINE_string('job-dir', '', '')
flags.DEFINE_string('job_dir', '', 'Where to write, whichever way it is spelled.')
flags.DEFINE_integer('max_steps', 600, 'Number of steps to run trainer.')
flags.DEFINE_integer('hidden1', 64, '')
flags.DEFINE_float('learning_rate', 0.01, 'Initial learning rate.')


def run_training(target, is_chief, output):
    with tf.Graph().as_default():
        tf.set_random_seed(11)
        images, labels = model.read_and_decode(FLAGS.train_files.split(','), 64)
        with tf.variable_scope('net'):
            logits = model.inference(images, FLAGS.hidden1)
        global_step = tf.train.get_or_create_global_step()
        total = model.loss(logits, labels)
        train_op = model.training(total, FLAGS.learning_rate, global_step)
        hooks = [tf.train.StopAtStepHook(last_step=FLAGS.max_steps),
                 tf.train.NanTensorHook(total)]
        with tf.train.MonitoredTrainingSession(
                master=target, is_chief=is_chief, checkpoint_dir=output,
                save_checkpoint_secs=60, save_summaries_steps=100, hooks=hooks) as sess:
            while not sess.should_stop():
                _, step, value = sess.run([train_op, global_step, total])
                if step % 200 == 0:
                    tf.logging.info('step %d: loss = %.3f', step, value)


def export(output):
    with tf.Graph().as_default(), tf.Session() as sess:
        images = tf.placeholder(tf.float32, [None, 64], name='images')
        with tf.variable_scope('net'):
            logits = model.inference(images, FLAGS.hidden1)
        classes = tf.argmax(logits, 1)
        saver = tf.train.Saver()
        saver.restore(sess, tf.train.latest_checkpoint(output))
        print('accuracy: %.4f' % model.evaluation(sess, logits, images, FLAGS.eval_file))
        signature = signature_def_utils.build_signature_def(
            inputs={'images': utils.build_tensor_info(images)},
            outputs={'classes': utils.build_tensor_info(classes)},
            method_name=signature_constants.PREDICT_METHOD_NAME)
        builder = saved_model_builder.SavedModelBuilder(os.path.join(output, 'export'))
        builder.add_meta_graph_and_variables(
            sess, [tag_constants.SERVING],
            signature_def_map={
                signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY: signature},
            legacy_init_op=tf.group(tf.tables_initializer(), name='legacy_init_op'))
        builder.save()


def main(unused_argv):
    config = json.loads(os.environ.get('TF_CONFIG') or '{}')
    task = config.get('task', {'type': 'master', 'index': 0})
    is_chief = task['type'] == 'master'
    output = getattr(FLAGS, 'job-dir') or FLAGS.job_dir
    run_training('', is_chief, output)
    if is_chief:
        export(output)


if __name__ == '__main__':
    tf.logging.set_verbosity(tf.logging.INFO)
    tf.app.run()
