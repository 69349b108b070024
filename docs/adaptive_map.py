"""Maps of 512 × 512 networks from a small share of them. Prints a table.

    python -m docs.adaptive_map FOLDER_WITH_THE_FILES [512]

Divisors from 1e-2 to 1e6, learning rates from 1e-9 to 1e3, one seed: 200 steps of
784-128-10 on 6,400 images of Fashion-MNIST, under SGD and under Adam. Cells are divided
where the status of their corners differs. 2,000 of the points that are filled in are
then trained as an audit. Then three places of the boundary under SGD, enlarged 64
times. Draws adaptive_map_….png, and writes the statuses to adaptive_map.npz, beside
this file.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.patches import Patch

from benchmarks import scripts
from experiments.reproduction.configurations import published_settings
from fmnist_jax import Config, Data, Hparams, load, refined_map, sweep, use_cpu_cores
from fmnist_jax.analysis.dimension import dimension
from fmnist_jax.figures import style
from fmnist_jax.figures.maps import STATUS_COLOURS, maps, trained_points
from fmnist_jax.sweeps import initial_sharpness
from fmnist_jax.sweeps.engine import plan_for_local_devices

EXAMPLES, TEST_EXAMPLES, AUDITED = 6400, 500, 2000
CONFIG = Config(num_epochs=1, evaluate_train=False)
FOLDER = Path(__file__).parent
NAMES = list(STATUS_COLOURS)
ENDS = (-2.0, 6.0), (-9.0, 3.0)  # decades of divisors and of learning rates
ZOOM, ZOOM_SIZE = 64, 128  # how much smaller a window is, and its points along a side
PLACES = ((2.41, -0.27), (0.3, -1.5), (3.0, 0.9))  # decades, on boundaries under SGD


def plane(size: int, ends: Any = ENDS) -> dict[str, list[float]]:
    """Returns the values of both settings, between powers of 10."""
    names = "divisor", "learning_rate"
    pairs = zip(names, ends, strict=True)
    return {name: np.logspace(low, high, size).tolist() for name, (low, high) in pairs}


def windows() -> list[Any]:
    """Returns the ends of the windows around ``PLACES``."""
    halves = [(high - low) / ZOOM / 2 for low, high in ENDS]
    return [
        [(at - half, at + half) for at, half in zip(place, halves, strict=True)]
        for place in PLACES
    ]


def theory(results: xr.Dataset, data: Data, config: Config) -> xr.Dataset:
    """Returns stable learning rates by theory, interpolated between 33 divisors."""
    few = np.logspace(*ENDS[0], 33).tolist()
    axes: dict[str, Any] = {"divisor": few, "seed": [0]}
    hparams = Hparams(learning_rate=1e-3)
    plan = plan_for_local_devices(axes, data, config, hparams)
    rates = initial_sharpness.stable_rates(plan, data)[["stable_rate"]]
    if config.optimizer == "sgd":
        rates = rates.merge(initial_sharpness.activation_stable_rates(plan, data))
    logs: xr.Dataset = xr.apply_ufunc(np.log, rates)
    fine = logs.assign_coords(divisor=np.log(few)).interp(
        divisor=np.log(results.divisor.values)
    )
    stable: xr.Dataset = xr.apply_ufunc(np.exp, fine)
    return stable.assign_coords(divisor=results.divisor)


def audit(results: xr.Dataset, data: Data, config: Config) -> tuple[int, int]:
    """Returns how many filled-in points are trained, and how many differ in status."""
    statuses = results.status.isel(seed=0).values
    points = np.argwhere(~results.is_trained.values)
    random = np.random.default_rng(0)
    chosen = points[random.permutation(len(points))[:AUDITED]]
    bundles = [
        {"divisor": results.divisor.values[x], "learning_rate": rate}
        for (x, y) in chosen
        for rate in [results.learning_rate.values[y]]
    ]
    again = sweep({"point": bundles}, data, config).status.isel(seed=0).values
    return len(chosen), int((again != statuses[tuple(chosen.T)]).sum())


def draw_zooms(zooms: list[xr.Dataset]) -> None:
    """Draws the status of every point in the windows."""
    drawing, panels = style.grid_of_panels(1, len(zooms), size=(14, 4.8))
    colours: dict[str, Any] = {
        "cmap": ListedColormap(list(STATUS_COLOURS.values())),
        "norm": BoundaryNorm(np.arange(len(NAMES) + 1) - 0.5, len(NAMES)),
    }
    present = set()
    for panel, results in zip(panels[0], zooms, strict=True):
        statuses = results.status.isel(seed=0).values
        present |= {*statuses.ravel().tolist()}
        codes = np.vectorize(NAMES.index)(statuses)
        axes = results.divisor.values, results.learning_rate.values
        panel.pcolormesh(*axes, codes.T, rasterized=True, **colours)
        panel.set(xscale="log", yscale="log", xlabel="pixel divisor (log scale)")
        style.log_ticks(panel.xaxis)
        style.log_ticks(panel.yaxis)
        slope = dimension(statuses)
        panel.set_title(
            f"dimension {slope.estimate:.2f} ({slope.low:.2f} to {slope.high:.2f})",
            fontsize=10,
        )
        panel.grid(visible=False)
    panels[0, 0].set_ylabel("learning rate (log scale)")
    shown = [name for name in NAMES if name in present]
    handles = [Patch(color=STATUS_COLOURS[name], label=name) for name in shown]
    style.add_legend(drawing, handles)
    subject = f"Three places of the boundary under SGD, enlarged {ZOOM} times"
    style.title(drawing, zooms[0], subject, seeds="")
    drawing.savefig(FOLDER / "adaptive_map_zooms.png", dpi=110)


def measure(optimizer: str, size: int, data: Data) -> tuple[str, dict[str, Any]]:
    """Trains and draws a map; returns its row of the table, and its points."""
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    start = time.perf_counter()
    results = refined_map(plane(size), {}, data, config, progress=True)
    minutes = (time.perf_counter() - start) / 60
    drawn = results.merge(theory(results, data, config))
    figures = maps(drawn, published_settings())
    if optimizer == "sgd":
        figures |= trained_points(drawn)
    for name, figure in figures.items():
        file_name = f"adaptive_map_{name.replace('map', optimizer)}.png"
        figure.savefig(FOLDER / file_name, dpi=110)
    number, wrong = audit(results, data, config)
    statuses = results.status.isel(seed=0).values
    slope = dimension(statuses)
    trained = results.is_trained.values
    row = (
        f"| {optimizer} | {trained.mean():.2%} | {minutes:.1f} min | "
        f"{wrong} of {number:,} | {slope.estimate:.2f} "
        f"({slope.low:.2f} to {slope.high:.2f}) |"
    )
    codes = np.vectorize(NAMES.index)(statuses).astype(np.uint8)
    return row, {optimizer: codes, f"{optimizer}_is_trained": trained}


def main(folder: str, size: str = "512") -> None:
    """Prints the table and draws the figures."""
    use_cpu_cores()
    data = load("fashion_mnist", folder, train_examples=EXAMPLES)
    data = data.first(test=TEST_EXAMPLES)
    print("| optimizer | trained | time | audit: other status | dimension |")
    print("|---|---|---|---|---|")
    arrays: dict[str, Any] = {"names": NAMES}
    for optimizer in ("sgd", "adam"):
        row, points = measure(optimizer, int(size), data)
        print(row, flush=True)
        arrays |= points
        np.savez_compressed(FOLDER / "adaptive_map.npz", **arrays)
    config = dataclasses.replace(CONFIG, optimizer="sgd")
    planes = [plane(ZOOM_SIZE, ends) for ends in windows()]
    draw_zooms([refined_map(p, {}, data, config, progress=True) for p in planes])


if __name__ == "__main__":
    scripts.run(main, __doc__ or "")
