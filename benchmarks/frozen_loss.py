"""On which Keras backends does training still freeze with unscaled pixels?

    python -m benchmarks.frozen_loss FOLDER_WITH_THE_FILES

Prints a table. Keras 3 trains the network of the keras preset on each installed
backend: once with the loss computed from probabilities (a softmax layer), as in
question 13722, and once with the loss computed from logits. Adam, pixels 0…255, two
epochs of 20,000 images, three seeds. Two minutes per backend.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from typing import Any

import numpy as np

from benchmarks import scripts
from fmnist_jax import load
from fmnist_jax.errors import UserError, choose

BACKENDS = {"jax": "jax", "tensorflow": "tensorflow", "torch": "torch"}
OUTPUTS = ("probabilities", "logits")
SEEDS = range(3)
EXAMPLES, EPOCHS = 20_000, 2
LAST_LINES = 5  # of the output of a backend that failed


def network(output: str) -> Any:
    """Returns the compiled network, whose output is probabilities or logits."""
    keras = importlib.import_module("keras")  # required by benchmarks only
    activation = "softmax" if output == "probabilities" else None
    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation=activation),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=output == "logits")
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def losses(data_dir: str) -> None:
    """Prints test loss and accuracy per seed, on the backend in KERAS_BACKEND."""
    keras = importlib.import_module("keras")
    data = load("fashion_mnist", data_dir, train_examples=EXAMPLES)
    x, x_test = (
        split.images.reshape(len(split.images), -1).astype(np.float32)
        for split in (data.train, data.test)
    )
    for output in OUTPUTS:
        for seed in SEEDS:
            keras.utils.set_random_seed(seed)
            model = network(output)
            model.fit(x, data.train.labels, batch_size=32, epochs=EPOCHS, verbose=0)
            scores = model.evaluate(x_test, data.test.labels, batch_size=500, verbose=0)
            print("result", output, *scores)


def measured(backend: str, data_dir: str) -> dict[str, list[list[float]]]:
    """Returns loss and accuracy per seed, by output, measured in another process.

    Raises:
      SystemExit: if the process fails; the message ends with its last lines.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.frozen_loss", data_dir, backend],
        env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines()[-LAST_LINES:] or ["No message."]
        sys.exit("\n".join([f"Error: Keras on {backend} failed:", *lines]))
    scores: dict[str, list[list[float]]] = {output: [] for output in OUTPUTS}
    for line in done.stdout.splitlines():
        if line.startswith("result "):
            _, output, *values = line.split()
            scores[output].append([*map(float, values)])
    return scores


def main(data_dir: str, backend: str | None = None) -> None:
    """Prints the table; with a backend, prints only the results of that backend.

    Raises:
      UserError: before any backend starts, if the data or Keras are missing.
    """
    if backend is not None:
        choose("backend", backend, BACKENDS)
        losses(data_dir)
        return
    load("fashion_mnist", data_dir, train_examples=EXAMPLES)
    try:
        version = importlib.metadata.version("keras")
    except importlib.metadata.PackageNotFoundError as error:
        text = "Keras is not installed; pip install -r requirements-bench.txt"
        raise UserError(text) from error
    print(f"Keras {version}, pixels 0…255, after {EPOCHS} epochs of {EXAMPLES} images:")
    print(
        "\n| backend | output | test loss per seed | test accuracy, % |\n"
        "|---|---|---|---|",
        flush=True,
    )
    for backend, package in BACKENDS.items():
        if importlib.util.find_spec(package) is None:
            print(f"| {backend} | not installed | | |")
            continue
        distributions = importlib.metadata.packages_distributions()[package]
        title = f"{backend} {importlib.metadata.version(distributions[0])}"
        for output, values in measured(backend, data_dir).items():
            loss, accuracy = np.asarray(values).T
            cells = ["  ".join(f"{v:.3f}" for v in loss)]
            cells.append("  ".join(f"{100 * v:.1f}" for v in accuracy))
            print(f"| {title} | {output} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    scripts.run(main, __doc__)
