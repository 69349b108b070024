"""Predicts the largest trainable learning rate of new cases, then measures it.

    python -m docs.predictions predict FOLDER_WITH_THE_FILES
    python -m docs.predictions measure FOLDER_WITH_THE_FILES

The first command writes docs/predictions.csv: five minutes on two cores. It was
committed before the second one was run, which writes docs/predictions_measured.csv,
docs/predictions_summary.csv and the figure: about an hour. The rules are

- "activation": 1.6 times the learning rate of activation stability; 1.6 is the median
  of ten earlier measurements, none of which is a case here;
- "2/λ", with λ the sharpness at initialisation;
- "fit": a power law of λ, fitted to an earlier map in docs/trainability_map (commit
  5357a08), of 24 learning rates;
- "2/batch sharpness", at initialisation (Andreyev and Beneventano 2024).

Each run takes 500 steps of SGD. The largest trainable learning rate is the top of the
lowest unbroken stretch of learning rates, 10^0.1 apart, at which most of five seeds
train.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks import scripts
from docs.predictions_figure import draw
from fmnist_jax import (
    Config,
    Data,
    Hparams,
    activation_stability_probe,
    batch_sharpness_probe,
    load,
    sweep,
    use_cpu_cores,
)
from fmnist_jax.analysis.criteria import usual_criteria
from fmnist_jax.analysis.trainability import LEARNING_RATE, largest_trainable
from fmnist_jax.errors import unknown
from fmnist_jax.probes.sharpness import EXAMPLES, sharpness_probe
from fmnist_jax.sweeps.program_data import share_statistics

FOLDER = Path(__file__).parent
PREDICTED, MEASURED = FOLDER / "predictions.csv", FOLDER / "predictions_measured.csv"
SUMMARY, FIGURE = FOLDER / "predictions_summary.csv", FOLDER / "predictions.png"
SEEDS, STEPS = range(5), 500
STEPS_PER_DECADE = 10
BELOW, ABOVE = 0.5, 0.9  # decades measured beyond the lowest and the highest prediction
FACTOR = 1.6  # of the learning rate of activation stability
# log10 learning rate = a + b log10 λ, by least squares over the divisors of the earlier
# map under SGD with the softmax loss.
FIT = 0.36927, -0.85661
# Cases that were not new: measured before with three seeds and another criterion
# (commit dab9234), or between two divisors of the earlier map.
KNOWN_BEFORE = (
    *("32 units", "512 units", "128, 128", "÷30", "MNIST"),
    *("÷5", "÷1000", "÷3000"),
)
CRITERIA = (
    *("status", "accuracy, a quarter of the way", "accuracy, three quarters"),
    "loss at most ln C / 2",
)
RULES = ("activation", "2/λ", "fit", "2/batch sharpness")
RESAMPLES = 10_000  # of the bootstrap
TITLES = {rule: rule for rule in RULES}
TITLES |= {
    "activation": f"{FACTOR} × activation stability",
    "fit": "fitted power law of λ",
}


class Case(NamedTuple):
    """What differs from a 784-128-10 network on Fashion-MNIST, ÷255, batches of 32."""

    name: str
    config: Mapping[str, Any] = {}
    hparams: Mapping[str, Any] = {}
    dataset: str = "fashion_mnist"


CASES = (
    Case("B 1", {"batch_size": 1}),
    Case("B 4", {"batch_size": 4}),
    Case("B 64", {"batch_size": 64}),
    Case("B 256", {"batch_size": 256}),
    Case("B 512, ÷100", {"batch_size": 512}, {"divisor": 100.0}),
    Case("8 units", {"hidden_sizes": (8,)}),
    Case("32 units", {"hidden_sizes": (32,)}),
    Case("512 units", {"hidden_sizes": (512,)}),
    Case("4096 units", {"hidden_sizes": (4096,)}),
    Case("128, 128", {"hidden_sizes": (128,) * 2}),
    Case("4 × 64", {"hidden_sizes": (64,) * 4}),
    Case("6 × 128", {"hidden_sizes": (128,) * 6}),
    Case("PyTorch, B 128", {"initializer": "pytorch", "batch_size": 128}),
    Case("Flax, 2 × 256", {"initializer": "flax", "hidden_sizes": (256,) * 2}),
    Case("÷5", {}, {"divisor": 5.0}),
    Case("÷30", {}, {"divisor": 30.0}),
    Case("÷1000", {}, {"divisor": 1000.0}),
    Case("÷3000", {}, {"divisor": 3000.0}),
    Case("first kernel × 0.1", {}, {"first_kernel_scale": 0.1}),
    Case("first kernel × 10", {}, {"first_kernel_scale": 10.0}),
    Case("standardised", {"normalization": "standard"}),
    Case("MNIST", dataset="mnist"),
    Case(
        "MNIST, 3 × 64, ÷100, B 16",
        {"hidden_sizes": (64,) * 3, "batch_size": 16},
        {"divisor": 100.0},
        "mnist",
    ),
    Case("synthetic", dataset="synthetic"),
    Case(
        "synthetic, 256, B 8",
        {"hidden_sizes": (256,), "batch_size": 8},
        {},
        "synthetic",
    ),
)


def settings(case: Case) -> tuple[Config, Hparams]:
    """Returns the settings of a case, for ``STEPS`` steps on its data."""
    base = Config(optimizer="sgd", evaluate_train=False, **case.config)
    config = dataclasses.replace(base, num_epochs=_num_epochs(base.batch_size))
    return config, Hparams(**case.hparams)


def _num_epochs(batch_size: int) -> int:
    """Returns the fewest epochs of at most 60,000 images in ``STEPS`` steps."""
    divisors = (n for n in range(1, STEPS + 1) if STEPS % n == 0)
    return next(n for n in divisors if STEPS // n * batch_size <= 60_000)


def data_of(case: Case, num_images: int, data: Mapping[str, Data]) -> Data:
    """Returns the first training images of a case, with the statistics of all."""
    whole = data[case.dataset]
    first = whole.first(train=num_images, test=1000)
    share_statistics(first, whole, [settings(case)[0]])
    return first


def predict(data: Mapping[str, Data]) -> Iterator[dict[str, Any]]:
    """Yields the measurements before training, and each rule's learning rate."""
    for case in CASES:
        config, hparams = settings(case)
        activation = activation_stability_probe()
        probes = [sharpness_probe(), batch_sharpness_probe("init"), activation]
        count = max(EXAMPLES, activation.num_examples(config))
        one_epoch = dataclasses.replace(config, num_epochs=1)
        runs = sweep(
            {"seed": SEEDS}, data_of(case, count, data), one_epoch, hparams, probes
        )
        sharpness, batch, rate = (
            float(np.exp(np.log(runs[name].values.astype(float)).mean()))
            for name in ("sharpness", "batch_sharpness", "activation_stable_rate")
        )
        yield {
            "case": case.name,
            "sharpness": sharpness,
            "batch_sharpness": batch,
            "activation_stable_rate": rate,
            "activation": FACTOR * rate,
            "2/λ": 2 / sharpness,
            "fit": 10 ** (FIT[0] + FIT[1] * math.log10(sharpness)),
            "2/batch sharpness": 2 / batch,
        }


def measure(
    predicted: pd.DataFrame, data: Mapping[str, Data]
) -> Iterator[dict[str, Any]]:
    """Yields, for each case and criterion, the largest trainable learning rate."""
    cases = {case.name: case for case in CASES}
    for row in predicted.to_dict("records"):
        case = cases[row["case"]]
        config, hparams = settings(case)
        exponents = np.log10([row[rule] for rule in RULES])
        low, high = exponents.min() - BELOW, exponents.max() + ABOVE
        first, last = (round(end * STEPS_PER_DECADE) for end in (low, high))
        rates = 10.0 ** (np.arange(first, last + 1) / STEPS_PER_DECADE)
        axes = {LEARNING_RATE: rates, "seed": SEEDS}
        count = STEPS // config.num_epochs * config.batch_size
        runs = sweep(axes, data_of(case, count, data), config, hparams)
        for name, criterion in zip(CRITERIA, usual_criteria(runs), strict=True):
            largest, islands = largest_trainable(runs, criterion)
            yield {
                "case": case.name,
                "criterion": name,
                "measured": float(largest),
                "islands": int(islands),
                "lowest tried": rates[0],
                "highest tried": rates[-1],
                **{rule: row[rule] for rule in RULES},
            }


def summarise(measured: pd.DataFrame) -> pd.DataFrame:
    """Returns how far each rule is from the measurements, by criterion.

    The factor of a case is the larger of prediction ÷ measurement and its inverse.
    ``log10_rmse`` has a bootstrap interval over cases; ``log10_rmse_fitted`` is that
    after the rule is multiplied by the constant that fits the measurements best.
    """
    rows = []
    random = np.random.default_rng(0)
    groups = dict(list(measured.groupby("criterion", sort=False)))
    status = groups["status"]
    groups["status, new cases alone"] = status[~status.case.isin(KNOWN_BEFORE)]
    for criterion, group in groups.items():
        known = group.dropna(subset="measured")
        for rule in RULES:
            logs = np.log10(known[rule] / known.measured).to_numpy()
            samples = logs[random.integers(0, len(logs), (RESAMPLES, len(logs)))]
            low, high = np.percentile(_rms(samples), [2.5, 97.5])
            worst = int(np.abs(logs).argmax())
            rows.append(
                {
                    "criterion": criterion,
                    "rule": rule,
                    "cases": len(logs),
                    "median factor": 10 ** np.median(np.abs(logs)),
                    "worst factor": 10 ** np.abs(logs[worst]),
                    "worst case": known.case.iloc[worst],
                    "log10_rmse": _rms(logs),
                    "low": low,
                    "high": high,
                    "log10_rmse_fitted": logs.std(),
                }
            )
    return pd.DataFrame(rows)


def _rms(logs: np.ndarray) -> Any:
    return np.sqrt((logs**2).mean(-1))


def main(what: str, data_dir: str) -> None:
    """Writes and prints a table.

    Raises:
      UserError: for another argument than these two, or if there is no data.
    """
    if what not in ("predict", "measure"):
        raise unknown("argument", what, ("predict", "measure"))
    use_cpu_cores()
    folders = {"fashion_mnist": data_dir, "mnist": data_dir, "synthetic": None}
    data = {name: load(name, folder) for name, folder in folders.items()}
    if what == "predict":
        table, path = pd.DataFrame(predict(data)), PREDICTED
    else:
        table, path = pd.DataFrame(measure(pd.read_csv(PREDICTED), data)), MEASURED
        summary = summarise(table)
        summary.to_csv(SUMMARY, index=False, float_format="%.4g")
        print(summary.to_string(index=False, float_format="%.3g"))
        draw(table, TITLES).savefig(FIGURE, dpi=150)
    table.to_csv(path, index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    scripts.run(main, __doc__)
