"""Which of Keras's backends still freeze on unscaled pixels? Prints a table.

    python -m benchmarks.frozen_loss FOLDER_WITH_THE_FILES

The network of the keras preset, by Keras 3 on each backend that is installed: once
with a softmax at its end and the loss on its probabilities, as the question 13722 has
it, and once with the loss on its logits. Adam, pixels 0…255, two epochs of 20,000
images, three seeds. Two minutes a backend.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from typing import Any

import numpy as np

from fmnist_jax import load
from fmnist_jax.errors import UserError, choose
from fmnist_jax.runner import scripts

BACKENDS = {"jax": "jax", "tensorflow": "tensorflow", "torch": "torch"}
OUTPUTS = ("softmax", "logits")
SEEDS = range(3)
EXAMPLES, EPOCHS = 20_000, 2
LAST_LINES = 5  # of what a backend that failed wrote


def network(output: str) -> Any:
    """Returns the compiled network that ends in a softmax or in logits."""
    keras = importlib.import_module("keras")  # a requirement of benchmarks only
    activation = "softmax" if output == "softmax" else None
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
    """Prints test loss and accuracy of each seed, on the backend of the environment."""
    keras = importlib.import_module("keras")
    data = load("fashion_mnist", data_dir, train_examples=EXAMPLES)
    x, x_test = (
        part.images.reshape(len(part.images), -1).astype(np.float32)
        for part in (data.train, data.test)
    )
    for output in OUTPUTS:
        for seed in SEEDS:
            keras.utils.set_random_seed(seed)
            model = network(output)
            model.fit(x, data.train.labels, batch_size=32, epochs=EPOCHS, verbose=0)
            found = model.evaluate(x_test, data.test.labels, batch_size=500, verbose=0)
            print("result", output, *found)


def measured(backend: str, data_dir: str) -> dict[str, list[list[float]]]:
    """Returns by output the loss and accuracy of each seed, from a process of its own.

    Raises:
      SystemExit: the process failed; with the last lines that it wrote.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.frozen_loss", data_dir, backend],
        env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip().splitlines()[-LAST_LINES:] or ["It said nothing."]
        sys.exit("\n".join([f"Error: Keras on {backend} failed:", *said]))
    lines = [r.split()[1:] for r in done.stdout.splitlines() if r.startswith("result ")]
    return {
        output: [[*map(float, line[1:])] for line in lines if line[0] == output]
        for output in OUTPUTS
    }


def main(data_dir: str, backend: str | None = None) -> None:
    """Prints the lines of the table for each backend that is installed.

    In a process of one backend alone, its results.

    Raises:
      UserError: before any backend starts, where data or Keras are not there.
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
        "\n| backend | output | test loss, each seed | test accuracy, % |\n"
        "|---|---|---|---|",
        flush=True,
    )
    for backend, package in BACKENDS.items():
        if importlib.util.find_spec(package) is None:
            print(f"| {backend} | not installed | | |")
            continue
        found = importlib.metadata.packages_distributions()[package]
        title = f"{backend} {importlib.metadata.version(found[0])}"
        for output, values in measured(backend, data_dir).items():
            loss, accuracy = np.asarray(values).T
            cells = ["  ".join(f"{v:.3f}" for v in loss)]
            cells.append("  ".join(f"{100 * v:.1f}" for v in accuracy))
            print(f"| {title} | {output} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    scripts.run(main, __doc__)
