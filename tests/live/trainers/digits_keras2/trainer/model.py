import tensorflow as tf
from tensorflow.keras import layers, models
from tensorflow.keras.optimizers import SGD
from tensorflow.keras.preprocessing.image import ImageDataGenerator


def build(lr):
    model = models.Sequential([
        layers.Conv2D(16, (3, 3), activation='relu', input_shape=(8, 8, 1)),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(64, activation='relu'),
        layers.Dense(10, activation='softmax'),
    ])
    model.compile(optimizer=SGD(lr=lr, momentum=0.9, nesterov=True),
                  loss=tf.keras.losses.categorical_crossentropy, metrics=['acc'])
    return model


def augmented(x, y, batch_size):
    return ImageDataGenerator(width_shift_range=0.05).flow(x, y, batch_size=batch_size, seed=2)
