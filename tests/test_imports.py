"""What may import what, each asserted in a fresh process."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Imports go down only: a module may import those on the lines below its own.
LAYERS = (
    "theory",
    "sweeping",
    "memory",
    "ahead",
    "descriptions",
    "parts",
    "seats checks",
    "programs",
    "joining sharpness layers",
    "histograms",
    "diagnostics",
    "training",
    "models losses optimizers schedules",
    "planning",
    "data_figures saturation details maps edge twins",
    "report plots survey boundaries",
    "results stability",
    "data",
    "sources prepared synthetic download",
    "dataset",
    "idx official",
    "cost",
    "devices",
    "config",
    "kinds",
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}


def loaded(code: str) -> set[str]:
    """Returns the modules that a fresh process has loaded after running code."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT,
        check=True,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import fmnist_jax", "jax flax optax numpy absl tensorflow_datasets"),
        ("import fmnist_jax.config", "jax flax optax numpy absl"),
        ("import fmnist_jax.planning", "jax flax optax absl"),
        ("import fmnist_jax.data", "jax flax absl tensorflow_datasets"),
        ("import fmnist_jax.details, fmnist_jax.report", "jax flax absl"),
        ("import fmnist_jax.maps", "jax flax absl"),
        ("import fmnist_jax.sweeping", "tensorflow_datasets matplotlib tqdm"),
        ("import fmnist_jax.data_figures, fmnist_jax.survey", "jax flax absl"),
        ("import fmnist_jax.saturation, experiments.pages", "jax flax absl"),
        ("import experiments.data_checks", "jax flax numpy matplotlib xarray"),
        ("import experiments.sigmoid_saturation", "jax flax numpy matplotlib xarray"),
        ("import experiments.scale_sweep", "jax flax numpy matplotlib xarray"),
        ("import experiments.trainability_map", "jax flax numpy matplotlib xarray"),
        ("import experiments.regularization", "jax flax numpy matplotlib xarray"),
        ("import experiments.flags, experiments.output", "jax flax matplotlib"),
        ("import experiments.running, experiments.merge", "jax flax matplotlib"),
    ],
)
def test_modules_load_only_what_they_need(code: str, absent: str) -> None:
    assert not set(absent.split()) & loaded(code)


def test_public_names_are_what_they_say() -> None:
    code = (
        "import fmnist_jax.sweeping, fmnist_jax.planning\n"
        "from fmnist_jax import *\n"
        "from fmnist_jax import sweep, plan, join, load\n"
        "assert all(map(callable, (sweep, plan, join, load, Config, MLP)))\n"
    )
    assert "jax" in loaded(code)


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def test_every_module_of_the_library_imports_downwards_only() -> None:
    paths = {path.stem: path for path in (ROOT / "fmnist_jax").glob("[!_]*.py")}
    assert paths.keys() == RANK.keys()
    for name, path in paths.items():
        below = {m for m in RANK if f"fmnist_jax.{m}" in _imports(path)} - {name}
        typing_only = {"planning", "data"} if name == "cost" else set()
        for other in below - typing_only:
            assert RANK[other] >= RANK[name], f"{name} imports {other}, which is above"


def test_absl_stays_in_the_experiments_and_flax_in_the_models() -> None:
    for path in (ROOT / "fmnist_jax").glob("*.py"):
        top = {name.split(".")[0] for name in _imports(path)}
        assert "absl" not in top, path
        assert "experiments" not in top, path
        assert ("flax" in top) == (path.stem == "models"), path
