"""The wheel: what it installs, and a user's scripts in an environment that has it.

The environment sees the wheel and the requirements, but not the repository.
"""

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import fmnist_jax
from benchmarks.package import readme_example

ROOT = Path(__file__).parents[1]
SOURCES = (
    "pyproject.toml", "requirements.txt", "requirements-workers.txt", "README.md",
    "LICENSE",
)  # fmt: skip
FOLDERS = ("fmnist_jax", "experiments", "benchmarks")

pytestmark = pytest.mark.slow

CORRECT = """\
import jax
import jax.numpy as jnp
import numpy as np

import fmnist_jax
from fmnist_jax import (
    MLP, PRESETS, Config, Data, Dataset, Hparams, Probe, State, init, load, run_orders,
    sweep, train, train_step, use_cpu_cores,
)

def share(
    config: Config, hparams: Hparams, state: State, key: jax.Array, batch: Dataset
) -> dict[str, jax.Array]:
    return {"share": jnp.mean(batch.labels == 0) * hparams.divisor}


text: str = fmnist_jax.__version__
cores: int = use_cpu_cores(np.int64(1))
data: Data = load("synthetic", train_examples=64, test_examples=32)
config = Config(hidden_sizes=(4,), num_epochs=1, optimizer="sgd", model=MLP(10, (4,)))
hparams = Hparams(learning_rate=jnp.float32(0.1), divisor=np.float64(255), l2=1)
ds = sweep({"divisor": [1, 255], "seed": range(2)}, data, config, probes=[Probe(share)])
accuracy: float = float(ds.test_accuracy.isel(epoch=-1).mean())
state: State = init(config, hparams, jax.random.key(0), data.image_shape, 10)
state, metrics = train_step(config, hparams, state, jax.random.key(1), data.train)
loss: float = float(metrics["loss"])
runs = Hparams(learning_rate=jnp.logspace(-3, -1, 3))
orders = run_orders(config, range(3), data)
state, metrics = train(config, PRESETS["book"][1], 0, data, orders[0])
rate = hparams.learning_rate * 2
"""
# Each line is a mistake.
MISTAKEN = """\
data = load("synthetic", train_exampels=64)
hparams = Hparams(learning_rat=0.1)
hparams = Hparams(learning_rate="0.1")
config = Config(num_epochs="5")
config = Config(hidden_sizes=128)
config = Config(batchsize=32)
sweep({"divisor": [1]}, data, hparams, config)
sweep(data, {"divisor": [1]})
hparams.learning_rat
init(config, hparams, jax.random.key(0), data.image_shape)
train(config, hparams, "0", data)
use_cpu_cores("2")
Probe("accuracy")
fmnist_jax.swep
state.parameters
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build writes next to the sources."""
    if int(version("setuptools").partition(".")[0]) < 77:
        pytest.skip("setuptools 77 or newer builds the wheel (requirements-dev.txt)")
    copy, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    subprocess.run(
        [sys.executable, "-c", build], cwd=copy, check=True, capture_output=True
    )
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and the requirements."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt", with_pip=False)
    names = {"base": str(folder), "platbase": str(folder)}
    site_packages = Path(sysconfig.get_path("purelib", "venv", names))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site_packages)
    # The folders themselves: their own .pth files, such as that of `pip install -e`,
    # are not read.
    required = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (site_packages / "requirements.pth").write_text("\n".join(sorted(required)))
    return Path(sysconfig.get_path("scripts", "venv", names)) / "python"


def run(python: Path, *arguments: str, folder: Path) -> str:
    """Returns what a command prints in a folder outside the repository."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run(
        [str(python), *arguments], cwd=folder, env=env, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_installs_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = f"fmnist_jax-{fmnist_jax.__version__}.dist-info"
        assert {name.split("/")[0] for name in names} == {"fmnist_jax", info}
        assert archive.read(f"{info}/top_level.txt").split() == [b"fmnist_jax"]
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
    assert metadata["Version"] == fmnist_jax.__version__
    lines = metadata.get_all("Requires-Dist", [])
    extra = {line for line in lines if 'extra == "workers"' in line.replace("'", '"')}
    assert packages_of({*lines} - extra) == packages_in("requirements.txt")
    assert packages_of(extra) == packages_in("requirements-workers.txt")


def packages_in(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return packages_of({line.split("#")[0].strip() for line in lines} - {""})


def packages_of(lines: set[str]) -> set[str]:
    return {re.match(r"[\w-]+", line)[0] for line in lines}  # type: ignore[index]


def test_the_wheel_has_every_file_of_the_library(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        installed = {n for n in archive.namelist() if n.startswith("fmnist_jax/")}
    files = (path for path in (ROOT / "fmnist_jax").rglob("*") if path.is_file())
    names = {path.relative_to(ROOT).as_posix() for path in files}
    assert installed == {name for name in names if "__pycache__" not in name}
    for name in ("py.typed", "__init__.pyi", "probes/__init__.pyi"):
        assert f"fmnist_jax/{name}" in installed


def test_the_environment_has_the_wheel_and_not_the_repository(
    python: Path, tmp_path: Path
) -> None:
    code = (
        "import fmnist_jax, importlib.util, sys\n"
        "print(fmnist_jax.__file__, fmnist_jax.__version__)\n"
        "print(importlib.util.find_spec('experiments'), 'jax' in sys.modules)"
    )
    first, second = run(python, "-c", code, folder=tmp_path).splitlines()
    path, number = first.split()
    assert Path(path).is_relative_to(python.parents[1])
    assert number == fmnist_jax.__version__
    assert second == "None False"


def test_the_example_of_the_readme_runs(python: Path, tmp_path: Path) -> None:
    sizes = {"optimizer": 2, "divisor": 3, "learning_rate": 2, "seed": 5, "epoch": 2}
    assert run(python, "-c", readme_example(), folder=tmp_path).splitlines()[-1] == str(
        sizes
    )


def test_mypy_finds_mistakes_and_passes_a_correct_script(
    python: Path, tmp_path: Path
) -> None:
    (tmp_path / "correct.py").write_text(CORRECT)
    first = len(CORRECT.splitlines()) + 1
    (tmp_path / "mistaken.py").write_text(CORRECT + MISTAKEN)
    command = (
        *("-m", "mypy", "--strict", "--config-file="),
        f"--cache-dir={tmp_path / 'cache'}",
        f"--python-executable={python}",
        *("correct.py", "mistaken.py"),
    )
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    errors = re.findall(r"^(\w+)\.py:(\d+): error", done.stdout, re.M)
    expected = range(first, first + len(MISTAKEN.splitlines()))
    assert {(f, int(line)) for f, line in errors} == {("mistaken", n) for n in expected}
