"""Who may import whom, and what a fresh process loads."""

import ast
import graphlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = "errors files values choices devices network_values"
LIBRARY = f"{BASE} config effects data networks training stability probes"
# Room: the rooms whose modules it may import, beside its own. No exemptions.
RULES = {
    "base": "",
    "config": BASE,
    "effects": f"{BASE} config",
    "stability": f"{BASE} config",
    "data": f"{BASE} config",
    "networks": f"{BASE} config",
    "training": f"{BASE} config effects data networks",
    "probes": f"{BASE} config effects data networks training stability",
    "sweeps": f"{BASE} config effects data networks training stability probes",
    "analysis": f"{BASE} config data.dataset stability",
    "figures": f"{BASE} config data.dataset stability analysis",
    "search": f"{LIBRARY} sweeps analysis",
    "runner": f"{LIBRARY} sweeps analysis figures search",
    "experiments": f"{LIBRARY} sweeps analysis figures search runner",
}


def loaded(code: str) -> set[str]:
    """Returns the modules that a fresh process has loaded after running code."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT,
        check=True,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import fmnist_jax", "jax flax optax numpy absl tensorflow_datasets"),
        ("import fmnist_jax.config", "jax flax optax numpy absl"),
        ("import fmnist_jax.sweeps.planning", "jax flax optax absl"),
        ("import fmnist_jax.sweeps.cost", "jax flax optax absl"),
        ("import fmnist_jax.probes.status", "jax flax optax"),
        ("import fmnist_jax.data", "jax flax absl tensorflow_datasets"),
        ("import fmnist_jax.figures.details", "jax flax absl"),
        ("import fmnist_jax.figures.maps", "jax flax absl"),
        (
            "import fmnist_jax.sweeps.engine",
            "tensorflow_datasets matplotlib tqdm equinox haiku",
        ),
        ("from fmnist_jax import *", "equinox._module haiku"),  # equinox is lazy
        ("from fmnist_jax import Network", "flax equinox haiku"),
        ("from fmnist_jax import from_haiku", "flax equinox haiku"),
        ("from fmnist_jax.figures import data_set, edge, rescaled", "jax flax absl"),
        ("from fmnist_jax.analysis import survey, report, edge", "jax flax absl"),
        ("from fmnist_jax.figures import saturation", "jax flax absl"),
        ("import fmnist_jax.runner.page", "jax flax absl jinja2"),
        ("import experiments.data_checks", "jax flax numpy matplotlib xarray"),
        ("import experiments.sigmoid_saturation", "jax flax numpy matplotlib xarray"),
        ("import experiments.scale_sweep", "jax flax numpy matplotlib xarray"),
        ("import experiments.trainability_map", "jax flax numpy matplotlib xarray"),
        ("import experiments.regularization", "jax flax numpy matplotlib xarray"),
        (
            "from fmnist_jax.runner import flags, saving, terminal",
            "jax flax matplotlib",
        ),
        ("from fmnist_jax.runner import execution", "jax flax matplotlib"),
        ("import experiments.merge", "jax flax matplotlib"),
    ],
)
def test_modules_load_only_what_they_need(code: str, absent: str) -> None:
    assert not set(absent.split()) & loaded(code)


@pytest.mark.slow
def test_public_names_are_what_they_say() -> None:
    code = (
        "import fmnist_jax.sweeps.engine, fmnist_jax.sweeps.planning\n"
        "from fmnist_jax import *\n"
        "from fmnist_jax import sweep, plan, join, load\n"
        "assert all(map(callable, (sweep, plan, join, load, Config, MLP)))\n"
        "assert issubclass(Notice, UserWarning)\n"
        "assert issubclass(UserError, ValueError)\n"
    )
    assert "jax" in loaded(code)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            "fmnist_jax.config",
            "Config Hparams Setting SETTINGS STATIC TRACED PRESETS OPTIMIZERS "
            "SCHEDULES INITIALIZERS LOSS_LEGENDS PRECISIONS ORDERS BATCH_NORMS "
            "PENALIZED check axis_label check_all coordinate is_log resolve show",
        ),
        (
            "fmnist_jax.training",
            "State Stopping Metrics EVALUATION_BATCH accuracy epoch_order evaluate "
            "example_order forward gradients hidden_values init run_epoch run_keys "
            "run_orders scaled_inputs train train_epoch train_step updates",
        ),
        ("fmnist_jax.data", "Data Dataset load"),
    ],
)
def test_users_reach_these_names(module: str, names: str) -> None:
    assert set(names.split()) <= vars(importlib.import_module(module)).keys()


def _modules() -> dict[str, Path]:
    """Returns the modules of library and experiments, by their dotted names."""
    paths = [
        p for top in ("fmnist_jax", "experiments") for p in ROOT.glob(f"{top}/**/*.py")
    ]
    names = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
    return {
        ".".join(name[:-1] if name[-1] == "__init__" else name): path
        for name, path in zip(names, paths, strict=True)
    }


def _imports(name: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """Returns the modules of ours that one imports anywhere, for types too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                names.add(dotted if dotted in modules else node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return (names & modules.keys()) - {name}


def _room(name: str) -> str:
    top, _, inner = name.partition(".")
    if top == "experiments":
        return "experiments"
    room = inner.partition(".")[0]
    return "base" if room in BASE.split() else room


def test_imports_go_down_only() -> None:
    modules = _modules()
    assert {_room(name) for name in modules} - {""} == RULES.keys()
    for name, path in modules.items():
        room = _room(name)
        if not room:
            continue  # the face of the package
        for other in _imports(name, path, modules):
            inside = other.removeprefix("fmnist_jax.")
            allowed = [*RULES[room].split(), *(BASE.split() if room == "base" else [])]
            is_allowed = _room(other) == room or any(
                f"{inside}.".startswith(f"{entry}.") for entry in allowed
            )
            assert is_allowed, f"{name} must not import {other}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = _modules()
    graph = {name: _imports(name, path, modules) for name, path in modules.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_libraries_stay_where_they_are_used() -> None:
    users = {
        "flax": [
            "fmnist_jax.networks.mlp",
            "fmnist_jax.training.step",
            "fmnist_jax.networks.layers",
            "fmnist_jax.networks.nnx",
        ],
        "equinox": [],  # loaded when first used
        "haiku": [],
    }
    for name, path in _modules().items():
        top = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [node.module or ""] if isinstance(node, ast.ImportFrom)
                else [a.name for a in node.names] if isinstance(node, ast.Import)
                else []
            )
        }  # fmt: skip
        assert "absl" not in top or _room(name) == "runner", name
        for library, modules in users.items():
            assert (library in top) == (name in modules), (name, library)
