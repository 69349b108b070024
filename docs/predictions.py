"""Predicts the largest trainable learning rate from the sharpness, then measures it.

    python -m docs.predictions predict FOLDER_WITH_THE_FILES
    python -m docs.predictions measure FOLDER_WITH_THE_FILES

The first command writes docs/predictions.csv: a minute on two cores. The second writes
docs/predictions_measured.csv and the figure: five minutes. The rule "fit" is a line
fitted to the map. Seven of the eight combinations differ from the map in network or
data set. The eighth, (fashion_mnist, 128, ÷30), measures the map's column of ÷30.08 on
a finer grid.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import scripts
from experiments.trainability_map import EXPERIMENT
from fmnist_jax import Data, Hparams, load, sweep, use_cpu_cores
from fmnist_jax.analysis.trainability import LEARNING_RATE, trainable_range
from fmnist_jax.config import PRESETS, SETTINGS, Config
from fmnist_jax.errors import unknown
from fmnist_jax.figures import style
from fmnist_jax.sweeps.initial_sharpness import initial_sharpness, stable_rates
from fmnist_jax.sweeps.planning import plan

FOLDER = Path(__file__).parent
MAP = FOLDER / "trainability_map" / "rates.csv"
PREDICTED, MEASURED = FOLDER / "predictions.csv", FOLDER / "predictions_measured.csv"
FIGURE = FOLDER / "predictions.png"
# Data set, hidden sizes, divisor.
COMBINATIONS = (
    ("fashion_mnist", (32,), 255.0),
    ("fashion_mnist", (512,), 255.0),
    ("fashion_mnist", (128, 128), 255.0),
    ("fashion_mnist", (128,), 30.0),
    ("fashion_mnist", (), 100.0),
    ("mnist", (128,), 255.0),
    ("mnist", (64, 64, 64), 100.0),
    ("mnist", (256,), 600.0),
)
SEEDS = range(3)
STEPS_PER_DECADE = 10
MARGIN = 1.5  # decades measured beyond the lowest and the highest prediction
RULES = ("2/λ", "12/λ", "fit")


def config_for(hidden_sizes: tuple[int, ...]) -> Config:
    """Returns the settings of the map's runs for another network."""
    config, _ = PRESETS[EXPERIMENT.preset]
    settings = dict(EXPERIMENT.settings)
    return dataclasses.replace(
        config, **settings, hidden_sizes=hidden_sizes, num_epochs=EXPERIMENT.epochs or 1
    )


def fit(rates: pd.DataFrame) -> tuple[float, float]:
    """Returns a and b of log10 learning rate = a + b log10 λ, by least squares.

    Args:
      rates: the table of the map; the fit is to SGD with the softmax loss.
    """
    chosen = rates[(rates.optimizer == "sgd") & (rates.loss == "softmax")]
    chosen = chosen.dropna(subset="largest_trainable")
    b, a = np.polyfit(np.log10(chosen.sharpness), np.log10(chosen.largest_trainable), 1)
    return float(a), float(b)


def predict(data: Mapping[str, Data]) -> pd.DataFrame:
    """Returns the sharpness and the learning rate of each rule, by combination."""
    a, b = fit(pd.read_csv(MAP))
    rows = []
    for name, hidden_sizes, divisor in COMBINATIONS:
        config, hparams = config_for(hidden_sizes), Hparams(divisor=divisor)
        seeds = plan({"seed": SEEDS}, config, hparams)
        sharpness = initial_sharpness(seeds, data[name]).sharpness.values.astype(float)
        middle = math.exp(np.log(sharpness).mean())
        rows.append(
            {
                "dataset": name,
                "hidden_sizes": SETTINGS["hidden_sizes"].value_type.text(hidden_sizes),
                "divisor": divisor,
                "sharpness": middle,
                "sharpness_min": sharpness.min(),
                "sharpness_max": sharpness.max(),
                "2/λ": 2 / middle,
                "12/λ": 12 / middle,
                "fit": 10 ** (a + b * math.log10(middle)),
            }
        )
    return pd.DataFrame(rows)


def measure(predicted: pd.DataFrame, data: Mapping[str, Data]) -> pd.DataFrame:
    """Returns the predictions, the measured learning rate, and its ratio to each."""
    rows = []
    for row in predicted.to_dict("records"):
        exponents = np.log10([row[rule] for rule in RULES])
        low, high = exponents.min() - MARGIN, exponents.max() + MARGIN
        first, last = (round(end * STEPS_PER_DECADE) for end in (low, high))
        rates = 10.0 ** (np.arange(first, last + 1) / STEPS_PER_DECADE)
        hidden_sizes = SETTINGS["hidden_sizes"].value_type.parse(row["hidden_sizes"])
        config, divisor = config_for(hidden_sizes), row["divisor"]
        axes = {"divisor": [divisor], LEARNING_RATE: rates, "seed": SEEDS}
        data_set = data[row["dataset"]]
        runs = sweep(axes, data_set, config, Hparams())
        seeds = plan({"divisor": [divisor], "seed": SEEDS}, config, Hparams())
        runs = runs.merge(stable_rates(seeds, data_set), combine_attrs="override")
        (trainable,) = trainable_range(runs).to_dict("records")
        measured = trainable["largest_trainable"]
        ratios = {f"ratio to {rule}": measured / row[rule] for rule in RULES}
        ends = {"lowest tried": rates[0], "highest tried": rates[-1]}
        rows.append({**row, "measured": measured, **ratios, **ends})
    return pd.DataFrame(rows)


def draw(measured: pd.DataFrame) -> Figure:
    """Draws the measured learning rates against λ, with the rules and the map."""
    figure, ((axes,),) = style.grid_of_panels(1, 1, size=(10, 5.6))
    rates = pd.read_csv(MAP)
    rates = rates[(rates.optimizer == "sgd") & (rates.loss == "softmax")]
    draw_rules(axes, rates)
    axes.plot(
        rates.sharpness,
        rates.largest_trainable,
        "o",
        color=style.COLOURS[0],
        label="the map: 128 units, Fashion-MNIST, each divisor",
    )
    draw_measured(axes, measured)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("sharpness at initialisation, λ (log scale)")
    axes.set_ylabel("largest trainable learning rate (log scale)")
    figure.legend(
        loc="outside right center",
        frameon=False,
        fontsize=9,
        title="a … h: predicted before measured",
    )
    figure.suptitle("Does the sharpness predict the largest trainable learning rate?")
    return figure


def draw_rules(axes: Axes, rates: pd.DataFrame) -> None:
    """Draws the learning rate of each rule over the sharpness of the map."""
    a, b = fit(rates)
    sharpness = np.geomspace(rates.sharpness.min(), rates.sharpness.max(), 200)
    fitted = 10 ** (a + b * np.log10(sharpness))
    lines = {
        "2/λ": (2 / sharpness, "-"),
        "12/λ": (12 / sharpness, ":"),
        f"fit to the map: {10**a:.2g} · λ^{b:.2f}": (fitted, "--"),
    }
    for label, (learning_rate, line) in lines.items():
        axes.plot(sharpness, learning_rate, color="0.2", linestyle=line, label=label)


def draw_measured(axes: Axes, measured: pd.DataFrame) -> None:
    """Draws a diamond with a letter for each measured combination."""
    for letter, row in zip("abcdefgh", measured.to_dict("records"), strict=True):
        text = f"{row['dataset']}, {row['hidden_sizes']}, ÷{row['divisor']:g}"
        point = row["sharpness"], row["measured"]
        axes.plot(
            *point,
            "D",
            color=style.COLOURS[1],
            markersize=11,
            label=f"{letter}: {text}",
        )
        axes.annotate(
            letter, point, fontsize=8, color="white", ha="center", va="center"
        )


def main(what: str, data_dir: str) -> None:
    """Writes and prints a table.

    Raises:
      UserError: for another argument than these two, or if there is no data.
    """
    if what not in ("predict", "measure"):
        raise unknown("argument", what, ("predict", "measure"))
    use_cpu_cores()
    examples = EXPERIMENT.train_examples
    names = {name for name, _, _ in COMBINATIONS}
    data = {n: load(n, data_dir, train_examples=examples) for n in names}
    if what == "predict":
        table, path = predict(data), PREDICTED
    else:
        table, path = measure(pd.read_csv(PREDICTED), data), MEASURED
        draw(table).savefig(FIGURE, dpi=150)
    table.to_csv(path, index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    scripts.run(main, __doc__)
