import argparse
import os

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow.keras.backend as K
from tensorflow.python.keras.utils import to_categorical
from tensorflow.python.lib.io import file_io

from .model import create_model


def load(filenames):
    table = pd.concat([pd.read_csv(tf.gfile.Open(name), header=None) for name in filenames])
    values = table.values.astype(np.float32)
    return values[:, :-1] / 16, to_categorical(values[:, -1], 10)


def copy_file_to_gcs(job_dir, file_path):
    with file_io.FileIO(file_path, mode='rb') as input_f:
        with file_io.FileIO(os.path.join(job_dir, file_path), mode='wb+') as output_f:
            output_f.write(input_f.read())


class Report(tf.keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs={}):
        if epoch % 10 == 9:
            print('epoch %d: %s' % (epoch, sorted(logs)))


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--train-files', required=True, nargs='+')
    parser.add_argument('--eval-files', required=True, nargs='+')
    parser.add_argument('--job-dir', required=True)
    parser.add_argument('--learning-rate', type=float, default=0.05)
    parser.add_argument('--num-epochs', type=int, default=20)
    args, _ = parser.parse_known_args()

    np.random.seed(1)
    tf.set_random_seed(1)
    model = create_model(args.learning_rate)
    x, y = load(args.train_files)
    valid = load(args.eval_files)
    history = model.fit(
        x, y, batch_size=32, epochs=args.num_epochs, verbose=2, validation_data=valid,
        callbacks=[Report(), tf.keras.callbacks.TensorBoard(log_dir=os.path.join(args.job_dir, 'logs'))])
    print('accuracy: %.4f' % history.history['val_acc'][-1])
    assert abs(K.get_value(model.optimizer.lr) - args.learning_rate) < 1e-6
    model.save('digits.h5')
    copy_file_to_gcs(args.job_dir, 'digits.h5')
    K.set_learning_phase(False)
    again = tf.keras.models.load_model('digits.h5')
    tf.contrib.saved_model.save_keras_model(again, os.path.join(args.job_dir, 'export'))
    estimator = tf.keras.estimator.model_to_estimator(
        keras_model_path='digits.h5', model_dir=os.path.join(args.job_dir, 'estimator'))
    print('estimator: %s' % os.listdir(estimator.model_dir))
