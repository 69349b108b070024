"""A map of 512 × 512 networks from a small share of them. Prints a table.

    python -m docs.adaptive_map FOLDER_WITH_THE_FILES [512]

Divisors from 1e-2 to 1e6, learning rates from 1e-9 to 1e3, SGD, one seed: 200 steps of
784-128-10 on 6,400 images of Fashion-MNIST. Cells are divided where the status of their
corners differs. 2,000 of the points that are filled in are then trained as an audit.
Draws adaptive_map.png, and writes the statuses to adaptive_map.npz, beside this file.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.patches import Patch

from benchmarks import scripts
from fmnist_jax import Config, Data, load, refined_map, sweep, use_cpu_cores
from fmnist_jax.analysis.dimension import dimension
from fmnist_jax.figures import style
from fmnist_jax.figures.maps import STATUS_COLOURS

EXAMPLES, TEST_EXAMPLES, AUDITED = 6400, 500, 2000
CONFIG = Config(optimizer="sgd", num_epochs=1, evaluate_train=False)
FOLDER = Path(__file__).parent
NAMES = list(STATUS_COLOURS)


def plane(size: int) -> dict[str, list[float]]:
    """Returns the values of both settings."""
    return {
        "divisor": np.logspace(-2, 6, size).tolist(),
        "learning_rate": np.logspace(-9, 3, size).tolist(),
    }


def audit(results: xr.Dataset, data: Data) -> tuple[int, int]:
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
    again = sweep({"point": bundles}, data, CONFIG).status.isel(seed=0).values
    return len(chosen), int((again != statuses[tuple(chosen.T)]).sum())


def draw(results: xr.Dataset) -> None:
    """Draws the status of every point, and which points were trained."""
    drawing, panels = style.grid_of_panels(1, 2, size=(13, 6.4), sharey=True)
    statuses = results.status.isel(seed=0).values
    codes = np.vectorize(NAMES.index)(statuses)
    colours: dict[str, Any] = {
        "cmap": ListedColormap(list(STATUS_COLOURS.values())),
        "norm": BoundaryNorm(np.arange(len(NAMES) + 1) - 0.5, len(NAMES)),
    }
    axes = results.divisor.values, results.learning_rate.values
    panels[0, 0].pcolormesh(*axes, codes.T, rasterized=True, **colours)
    trained = results.is_trained.values
    panels[0, 1].pcolormesh(*axes, trained.T, cmap="Greys", rasterized=True)
    titles = "status after 200 steps", f"the {trained.mean():.1%} that were trained"
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set(xscale="log", yscale="log", title=title, xlabel="pixel divisor")
        panel.grid(visible=False)
    panels[0, 0].set_ylabel("learning rate")
    present = [name for name in NAMES if (statuses == name).any()]
    handles = [Patch(color=STATUS_COLOURS[name], label=name) for name in present]
    style.add_legend(drawing, handles)
    size = "×".join(map(str, statuses.shape))
    style.title(drawing, results, f"A map of {size} networks under SGD", seeds="")
    drawing.savefig(FOLDER / "adaptive_map.png", dpi=110)
    codes = codes.astype(np.uint8)
    np.savez_compressed(
        FOLDER / "adaptive_map.npz", status=codes, is_trained=trained, names=NAMES
    )


def main(folder: str, size: str = "512") -> None:
    """Prints the table and draws the figure."""
    use_cpu_cores()
    data = load("fashion_mnist", folder, train_examples=EXAMPLES)
    data = data.first(test=TEST_EXAMPLES)
    start = time.perf_counter()
    results = refined_map(plane(int(size)), {}, data, CONFIG, progress=True)
    minutes = (time.perf_counter() - start) / 60
    draw(results)
    number, wrong = audit(results, data)
    slope = dimension(results.status.isel(seed=0).values)
    print(f"| {size} × {size} points | |\n|---|---|")
    print(f"| trained | {results.is_trained.mean().item():.2%} |")
    print(f"| time | {minutes:.1f} min |")
    print(
        f"| other status, of {number:,} filled-in points trained afterwards | {wrong} |"
    )
    interval = f"{slope.low:.2f} to {slope.high:.2f}"
    print(f"| dimension of the boundaries | {slope.estimate:.2f} ({interval}) |")


if __name__ == "__main__":
    scripts.run(main, __doc__ or "")
