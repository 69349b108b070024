"""Settings of JAX for every test, and the data that they share."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["FMNIST_JAX_OFFLINE"] = "1"
os.environ.pop("FMNIST_JAX_DATA", None)
os.environ["MPLBACKEND"] = "agg"
# Most programs of a test run once or twice: optimising them would take longer. The
# processes that a test starts inherit this.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

# With these flags, XLA compiles a program in a quarter of the time. It reads them once,
# when it starts, so they hold for all tests; sweeps/test_compiler.py compares with a
# user's options. `XLA_FLAGS= pytest` leaves them out, as `make test-lowest` does.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

# All modules, workers of pytest-xdist and subprocesses share a folder of compiled
# programs. The folder is new for each session: no program outlives its version.
if "PYTEST_XDIST_WORKER" not in os.environ:
    COMPILED = tempfile.mkdtemp(prefix="fmnist_jax-tests-")
    atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"

import jax

from fmnist_jax import devices
from fmnist_jax.data import load
from fmnist_jax.data.dataset import Data
from fmnist_jax.runner.experiment import Answer

# Under nohup or in the background of a script, signals are ignored, also in the
# processes that a test starts and stops.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

REAL_DATA = Path(
    os.environ.get(
        "FMNIST_JAX_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"
    )
)


# Tests for which every page is drawn whole.
LOOKING_AT_PAGES = {
    "test_benchmarks.py",
    "test_experiments.py",
    "test_page.py",
    "test_report_in_browser.py",
    "test_report_page.py",
    "test_trial.py",
}
# Tests that compare figures as bytes, or draw some that no other test draws.
LOOKING_AT_FIGURES = {
    *LOOKING_AT_PAGES,
    "test_halving.py",
    "test_points.py",
    "test_recommend.py",
    "test_refining.py",
}
# Tests of numbers: their programs are optimised, apart from the flags above.
OPTIMISED = ("training", "reproduction", "test_science.py")


@pytest.fixture(scope="module", autouse=True)
def _programs_of_one_module(request: pytest.FixtureRequest) -> Iterator[None]:
    """Optimises the programs of some modules, and frees those of each module.

    The programs of all modules together take gigabytes.
    """
    is_optimised = bool({request.path.name, request.path.parent.name} & {*OPTIMISED})
    jax.config.update("jax_disable_most_optimizations", not is_optimised)
    yield
    jax.clear_caches()


@pytest.fixture
def _unoptimised() -> Iterator[None]:
    """Compiles a test's programs without optimisation, in a module that has it."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


class EmptyFigure:
    """Writes an empty file where a figure would be."""

    def savefig(self, path: Path, **_: Any) -> None:
        path.touch()


@pytest.fixture(autouse=True)
def _cheap_output(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes empty figure files, and skips interactive figures and the trial figure.

    Drawing them takes seconds for each command that a test runs. The tests of files in
    ``LOOKING_AT_FIGURES`` get real figures, those in ``LOOKING_AT_PAGES`` everything.
    """
    from fmnist_jax.runner import report_page, saving, trial

    save_answer = saving.save_answer

    def save_empty_figures(answer: Answer, *arguments: Any) -> list[Path]:
        empty: Any = dict.fromkeys(answer.figures, EmptyFigure())
        return save_answer(answer._replace(figures=empty), *arguments)

    if request.path.name not in LOOKING_AT_FIGURES:
        monkeypatch.setattr(saving, "save_answer", save_empty_figures)
    if request.path.name in LOOKING_AT_PAGES:
        return
    monkeypatch.setattr(report_page, "_pages", lambda *_: {report_page.REPORT: None})
    monkeypatch.setattr(trial, "check_figures", lambda: None)


@pytest.fixture(scope="session", autouse=True)
def _two_cores() -> Iterator[None]:
    """Experiments use the devices that JAX has here, on a machine of any size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "num_cpu_cores", lambda: 2)
        yield


@pytest.fixture(scope="session")
def small() -> Data:
    """200 training and 100 test examples of the synthetic set."""
    return load("synthetic", train_examples=200, test_examples=100)


@pytest.fixture(scope="session")
def real_dir() -> Path:
    """The folder with the official files."""
    if not (REAL_DATA / "fashion_mnist").is_dir():
        pytest.skip(f"the official files are not at {REAL_DATA}")
    return REAL_DATA
