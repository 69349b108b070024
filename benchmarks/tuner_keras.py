"""Keras Tuner: Hyperband on a Keras network, with the backend in KERAS_BACKEND."""

import importlib
import math
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import tuner_task
from benchmarks.tuner_task import Answer, Outcome, Setting, Task
from fmnist_jax import use_compilation_cache

METRICS = {"validation_loss": "val_loss", "validation_accuracy": "val_accuracy"}
WORST = {"validation_loss": 1e9, "validation_accuracy": 0.0}  # of a diverged run
STEPS_PER_EXECUTION = 16


def build(setting: Setting, num_inputs: int, steps_per_execution: int) -> Any:
    """Returns a compiled network."""
    keras = importlib.import_module("keras")
    layers = keras.layers
    optimizers = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
    model = keras.Sequential(
        [
            layers.Input((num_inputs,)),
            layers.Dense(tuner_task.WIDTH, activation="relu"),
            layers.Dense(tuner_task.NUM_CLASSES),
        ]
    )
    model.compile(
        optimizer=optimizers[setting.optimizer](setting.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
    )
    return model


def setting_of(hp: Any) -> Setting:
    """Returns the setting of Keras Tuner's hyperparameters."""
    low, high = tuner_task.LEARNING_RATES
    return Setting(
        hp.Choice("normalization", list(tuner_task.NORMALIZATIONS)),
        hp.Choice("optimizer", list(tuner_task.OPTIMIZERS)),
        hp.Choice("batch_size", list(tuner_task.BATCH_SIZES)),
        hp.Float("learning_rate", low, high, sampling="log"),
    )


class Inputs:
    """The arrays of a task, by normalization."""

    def __init__(self, task: Task) -> None:
        self._task, self._data = task, tuner_task.load_data(task.data)
        self._inputs: dict[str, Any] = {}

    def of(self, normalization: str) -> dict[str, tuple[Any, Any]]:
        """Returns inputs and labels by split."""
        if normalization not in self._inputs:
            inputs = tuner_task.inputs_of(self._task, self._data, normalization)
            parts = self._data.splits.by_name
            self._inputs[normalization] = {
                split: (x, parts[split].labels) for split, x in inputs.items()
            }
        return self._inputs[normalization]


def _hypermodel(task: Task, inputs: Inputs, trained: dict[str, int]) -> Any:
    """Returns the model for Keras Tuner; ``trained`` counts settings and epochs."""
    keras: Any = importlib.import_module("keras")
    keras_tuner: Any = importlib.import_module("keras_tuner")

    class CountEpochs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            trained["epochs"] += 1
            trained["settings"] += epoch == 0

    class Model(keras_tuner.HyperModel):
        def build(self, hp: Any) -> Any:
            setting = setting_of(hp)
            num_inputs = inputs.of(setting.normalization)["train"][0].shape[1]
            return build(setting, num_inputs, STEPS_PER_EXECUTION)

        def fit(self, hp: Any, model: Any, callbacks: Any, **options: Any) -> Any:
            setting = setting_of(hp)
            arrays = inputs.of(setting.normalization)
            callbacks = [*callbacks, CountEpochs(), keras.callbacks.TerminateOnNaN()]
            history = model.fit(
                *arrays["train"], validation_data=arrays["validation"],
                batch_size=setting.batch_size, callbacks=callbacks, **options,
            ).history  # fmt: skip
            sign = tuner_task.SIGNS[task.by]
            scores = [sign * score for score in history.get(METRICS[task.by], [])]
            finite = [i for i, score in enumerate(scores) if math.isfinite(score)]
            if not finite:  # a result that is not a number would fail the search
                return {METRICS[name]: worst for name, worst in WORST.items()}
            top = min(finite, key=lambda i: scores[i])
            return {name: history[name][top] for name in METRICS.values()}

    return Model()


def hyperband(task: Task) -> Answer:
    """Searches with Hyperband, repeated until the time ends."""
    keras_tuner = importlib.import_module("keras_tuner")
    if importlib.import_module("keras").backend.backend() == "jax":
        use_compilation_cache(Path(task.data, f"compiled-{task.start}"))
    inputs, trained = Inputs(task), {"settings": 0, "epochs": 0}
    direction = "min" if tuner_task.SIGNS[task.by] > 0 else "max"
    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.Hyperband(
            _hypermodel(task, inputs, trained),
            objective=keras_tuner.Objective(METRICS[task.by], direction),
            max_epochs=tuner_task.EPOCHS, factor=3, hyperband_iterations=None,
            seed=task.seed, max_consecutive_failed_trials=1000, directory=folder,
        )  # fmt: skip
        try:
            with task.interrupted_at_end():
                tuner.search(verbose=0)
        except KeyboardInterrupt:
            pass
        seconds = task.budget - task.seconds_left
        if not (trials := tuner.oracle.get_best_trials(1)):
            raise RuntimeError("No trial was finished within the budget.")
        setting = setting_of(trials[0].hyperparameters)
        metrics = trials[0].metrics
        loss, validation = map(metrics.get_best_value, METRICS.values())
        test = inputs.of(setting.normalization)["test"]
        _, accuracy = tuner.get_best_models(1)[0].evaluate(*test, verbose=0)
        epochs = trials[0].hyperparameters.values["tuner/epochs"]
    best = Outcome(setting, epochs, loss, validation, accuracy)
    return Answer(best, trained["settings"], trained["epochs"], seconds)
