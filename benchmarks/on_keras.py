"""Keras 3 on the backend in KERAS_BACKEND."""

import importlib

from benchmarks.jobs import BATCH_SIZE, NUM_CLASSES, NUM_INPUTS, Job, Train


def _make_train(job: Job, steps_per_execution: int) -> Train:
    keras = importlib.import_module("keras")
    x, y = job.float32()
    optimizers = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((NUM_INPUTS,)),
            layers.Dense(job.width, activation="relu"),
            layers.Dense(NUM_CLASSES),
        ]
    )
    model.compile(
        optimizer=optimizers[job.optimizer](job.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=steps_per_execution,
    )

    def train(steps: int) -> object:
        count = steps * BATCH_SIZE
        return model.fit(
            x[:count], y[:count], batch_size=BATCH_SIZE, epochs=1, verbose=0
        )

    return train


def fit(job: Job) -> dict[str, Train]:
    """Returns ``Model.fit`` with its defaults."""
    return {"": _make_train(job, 1)}


def fit_together(job: Job) -> dict[str, Train]:
    """Returns ``Model.fit`` with several steps per execution."""
    return {str(n): _make_train(job, n) for n in (16, 64)}
