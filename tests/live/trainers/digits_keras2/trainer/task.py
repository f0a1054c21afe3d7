import argparse
import os

import numpy as np
import tensorflow as tf

from . import model as m

parser = argparse.ArgumentParser()
parser.add_argument('--train-file')
parser.add_argument('--eval-file')
parser.add_argument('--job-dir')
parser.add_argument('--epochs', default=6, type=int)
parser.add_argument('--lr', default=0.05, type=float)
args, unknown = parser.parse_known_args()


def load(path):
    with tf.io.gfile.GFile(path) as f:
        table = np.loadtxt(f, delimiter=',')
    x = (table[:, :-1] / 16).reshape(-1, 8, 8, 1).astype('float32')
    return x, tf.keras.utils.to_categorical(table[:, -1], 10)


tf.random.set_seed(3)
x, y = load(args.train_file)
model = m.build(args.lr)
print('learning rate', tf.keras.backend.get_value(model.optimizer.lr))
history = model.fit_generator(
    m.augmented(x, y, 32), steps_per_epoch=len(x) // 32, epochs=args.epochs, verbose=2,
    validation_data=load(args.eval_file))
print('accuracy: %.4f' % history.history['val_acc'][-1])
model.save(os.path.join(args.job_dir, 'model.h5'))
model.save(os.path.join(args.job_dir, 'export'), save_format='tf')
