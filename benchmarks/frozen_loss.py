"""Which of Keras's backends still freeze on unscaled pixels? Prints a table.

    python -m benchmarks.frozen_loss ../shared/data

The network of the keras preset with a softmax at its end and the loss on its
probabilities, as the question 13722 has it, by Keras 3 on each backend that is
installed: Adam, pixels 0…255, two epochs of 20,000 images, three seeds. A minute each.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys

import numpy as np

from fmnist_jax import load

BACKENDS = {"jax": "jax", "tensorflow": "tensorflow", "torch": "torch"}
SEEDS = range(3)
EXAMPLES, EPOCHS = 20_000, 2


def losses(data_dir: str) -> None:
    """Prints test loss and accuracy of each seed, on the backend of the environment."""
    keras = importlib.import_module("keras")  # a requirement of benchmarks only
    data = load("fashion_mnist", data_dir, train_examples=EXAMPLES)
    x, x_test = (
        part.images.reshape(len(part.images), -1).astype(np.float32)
        for part in (data.train, data.test)
    )
    for seed in SEEDS:
        keras.utils.set_random_seed(seed)
        model = keras.Sequential(
            [
                keras.Input((784,)),
                keras.layers.Dense(128, activation="relu"),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, data.train.labels, batch_size=32, epochs=EPOCHS, verbose=0)
        found = model.evaluate(x_test, data.test.labels, batch_size=500, verbose=0)
        print("result", *found)


def main(data_dir: str) -> None:
    """Prints a line of the table for each backend that is installed."""
    version = importlib.metadata.version("keras")
    print(f"Keras {version}, pixels 0…255, after {EPOCHS} epochs of {EXAMPLES} images:")
    print("\n| backend | test loss, each seed | test accuracy, % |\n|---|---|---|")
    for backend, package in BACKENDS.items():
        if importlib.util.find_spec(package) is None:
            print(f"| {backend} | not installed | |")
            continue
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.frozen_loss", data_dir, backend],
            env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        lines = [row.split()[1:] for row in done.stdout.splitlines() if "result" in row]
        loss, accuracy = np.asarray(lines, float).T
        found = importlib.metadata.packages_distributions()[package]
        versions = importlib.metadata.version(found[0])
        cells = ["  ".join(f"{v:.3f}" for v in loss)]
        cells.append("  ".join(f"{100 * v:.1f}" for v in accuracy))
        print(f"| {backend} {versions} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[2] in BACKENDS:
        losses(sys.argv[1])
    else:
        main(sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__))
