"""Size and speed of the interactive page of a 512 × 512 map.

    python -m benchmarks.report_page

Writes the page of a made-up map of one optimizer into a temporary folder and opens it
in headless Chromium. Prints its size, the time until its figures are drawn, and the
median time that the page takes to answer and draw a new position of the pointer. A
minute; needs Chromium and Playwright.
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks import scripts
from fmnist_jax.analysis.results import save
from fmnist_jax.errors import UserError
from fmnist_jax.runner import report_page
from fmnist_jax.runner.experiment import Experiment

SIZE, HOVERS = 512, 50
DIMS = ("divisor", "learning_rate", "seed")
# Moves the pointer to a random point of the map, and waits until that is drawn.
HOVER = """async ([x, y]) => {
  const { x_range, y_range } = models["map-0"];
  const at = (range, share) => range.start * (range.end / range.start) ** share;
  const start = performance.now();
  pointer(0, { x: at(x_range, x), y: at(y_range, y) }, false);
  await new Promise(requestAnimationFrame);
  await new Promise(resolve => setTimeout(resolve));
  return performance.now() - start;
}"""


def made_up() -> xr.Dataset:
    """Returns results of a map whose values are as hard to compress as real ones."""
    random = np.random.default_rng(0)
    shape = (SIZE, SIZE, 1)
    values: dict[str, Any] = {
        name: ((*DIMS, "epoch"), random.random((*shape, 1), np.float32))
        for name in ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
    }
    values["final_train_accuracy"] = (DIMS, random.random(shape, np.float32))
    status = random.choice(["trained", "dead", "diverged"], shape)
    coordinates = {
        "divisor": np.logspace(-2, 6, SIZE),
        "learning_rate": np.logspace(-9, 3, SIZE),
        "seed": [0],
        "epoch": [1],
        "optimizer": "sgd",
    }
    attributes = {"num_classes": 10, "largest_class_share": 0.1, "dataset": "made up"}
    attributes |= {"dataset_title": "made up", "train_examples": 1, "test_examples": 1}
    return xr.Dataset({**values, "status": (DIMS, status)}, coordinates, attributes)


def write(folder: Path) -> Path:
    """Writes the page into a folder; returns its path."""
    experiment = Experiment("map", "A map", {}, plane=("divisor", "learning_rate"))
    data = {"title": "made up", "name": "made up", "source": "made up", "notice": ""}
    counts = {"train_examples": 1, "test_examples": 1}
    metadata: dict[str, Any] = {"experiment": "map", "question": "A map?"}
    metadata |= {"command": [], "datasets": [data | counts], "sentences": []}
    metadata |= {"axes": {}, "settings": {}, "along": {}, "tables": [], "figures": []}
    dataset = made_up()
    save(dataset, folder, metadata)
    (path,) = report_page.write(folder, experiment, dataset)
    return path


def measure(path: Path) -> tuple[float, float]:
    """Returns the seconds to open a page, and the median of those to answer a hover."""
    from playwright.sync_api import sync_playwright

    random = np.random.default_rng(0)
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        raise UserError("Chromium is not installed.")
    with sync_playwright() as started:
        options: dict[str, Any] = {"executable_path": browser_path}
        options["args"] = ["--no-sandbox"]
        browser = started.chromium.launch(**options)
        page = browser.new_page()
        start = time.perf_counter()
        page.goto(path.as_uri())
        page.wait_for_function("document.body.dataset.ready === 'true'")
        seconds = time.perf_counter() - start
        positions = random.random((HOVERS, 2)).tolist()
        hovers = [page.evaluate(HOVER, position) for position in positions]
        browser.close()
    return seconds, float(np.median(hovers)) / 1000


def main() -> None:
    """Prints the three numbers."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder))
        print(f"size: {path.stat().st_size / 1e6:.2f} MB (goal: at most 3)")
        opening, hover = measure(path)
    print(f"opens in {opening:.2f} s (goal: at most 2)")
    print(f"answers a hover in {1000 * hover:.0f} ms (goal: at most 50)")


if __name__ == "__main__":
    scripts.run(main, __doc__)
