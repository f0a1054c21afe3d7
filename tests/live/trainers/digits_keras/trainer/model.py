import tensorflow as tf
from tensorflow import keras
from tensorflow.python.keras.layers import Dense, Dropout
from tensorflow.python.keras import backend as K


def create_model(learning_rate=0.01):
    K.set_learning_phase(True)
    model = keras.models.Sequential()
    model.add(Dense(64, input_dim=64, activation='relu'))
    model.add(Dropout(0.2))
    model.add(Dense(10, activation=tf.nn.softmax))
    model.compile(
        optimizer=tf.keras.optimizers.SGD(lr=learning_rate, momentum=0.9, decay=1e-4),
        loss='categorical_crossentropy', metrics=['accuracy'])
    return model
