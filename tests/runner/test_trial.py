"""What a command needs at its end or of its environment, tried before the training."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import matplotlib as mpl
import pytest

from experiments import merge, reproduce, trainability_map
from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data import load
from fmnist_jax.data.dataset import Data
from fmnist_jax.devices import use_compilation_cache
from fmnist_jax.errors import UserError
from fmnist_jax.files import cache_folder, local_folder, with_home
from fmnist_jax.runner import command_line, trial
from fmnist_jax.sweeps.checks import check_plan
from fmnist_jax.sweeps.planning import plan
from fmnist_jax.sweeps.sweep import sweep

ROOT = Path(__file__).parents[2]
FLAGS = (
    *("--dataset=synthetic", "--train_examples=96", "--test_examples=50"),
    *("--divisors=1,255", "--num_seeds=1", "--hidden_sizes=8", "--epochs=2"),
)


def run(*how: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *how], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, **environment},
    )  # fmt: skip


def refusal(out_dir: Path | str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """Returns the line with which a command ends that has trained and left nothing."""
    with pytest.raises(SystemExit) as caught:
        command_line.main(EXPERIMENT, ["x", *FLAGS, f"--out_dir={out_dir}", *more])
    output = capsys.readouterr()
    assert caught.value.code == 2
    assert "training" not in output.err
    assert not os.path.exists(out_dir)
    (line,) = output.err.splitlines()
    return line


def test_figures_are_tried_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no LaTeX there
    with mpl.rc_context({"text.usetex": True}):
        line = refusal(tmp_path / "out", capsys)
    assert line.startswith("Error: Figures cannot be drawn: ")
    assert "matplotlibrc" in line
    trial.check_figures()


@pytest.mark.slow
def test_a_broken_matplotlibrc_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_bytes(b"font.family: \xff\xfe")
    out_dir = f"--out_dir={tmp_path / 'out'}"
    how = ("-m", "experiments.scale_sweep", *FLAGS, out_dir)
    done = run(*how, MATPLOTLIBRC=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: Figures cannot be drawn: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["nonsense", "module://nowhere"])
def test_figures_need_no_backend(tmp_path: Path, backend: str) -> None:
    code = (
        "from fmnist_jax.figures import style\n"
        f"style.grid_of_panels(1, 1)[0].savefig({str(tmp_path / 'figure.png')!r})\n"
        f"import os; assert os.environ['MPLBACKEND'] == {backend!r}\n"
    )
    assert run("-c", code, MPLBACKEND=backend).stderr == ""
    assert (tmp_path / "figure.png").stat().st_size > 1000
    how = ("-m", "experiments.scale_sweep", *FLAGS, f"--out_dir={tmp_path / 'out'}")
    done = run(*how, MPLBACKEND=backend)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "curves.png").exists()


def test_the_disk_is_tried_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Four runs (two losses) for two epochs, with six float32 numbers each.
    full = SimpleNamespace(free=4 * 2 * 6 * 4 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    line = refusal(tmp_path / "out", capsys)
    assert "cannot be written: the results need at least 1 kB, and 0 kB" in line
    full.free += 1
    command_line.execute([EXPERIMENT], ["x", *FLAGS, f"--out_dir={tmp_path / 'out'}"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("JAX_PLATFORMS", "cuda", "JAX does not start: there is no such device"),
        ("JAX_PLATFORMS", "abc", "JAX does not start: Unable to initialize backend"),
        ("JAX_ENABLE_X64", "maybe", "JAX does not start: invalid truth value 'maybe'"),
        ("XLA_FLAGS", "--abc=1", "XLA refuses XLA_FLAGS=--abc=1: Unknown flag in"),
    ],
)
def test_an_environment_without_jax_is_one_line(
    tmp_path: Path, name: str, value: str, why: str
) -> None:
    out_dir = f"--out_dir={tmp_path / 'out'}"
    how = ("-m", "experiments.scale_sweep", *FLAGS, out_dir)
    done = run(*how, **{name: value})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: {why}")
    assert f"{name}={value}" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_debug_nans", True),
        ("jax_debug_infs", True),
        ("jax_numpy_dtype_promotion", "strict"),
        ("jax_transfer_guard", "disallow_explicit"),
    ],
)
def test_sweeps_override_settings_under_which_they_would_fail(
    small: Data, name: str, value: object
) -> None:
    axes = {"learning_rate": [1e-3, 1e30], "seed": range(2)}
    config = Config(num_epochs=1, hidden_sizes=(4,))
    expected = sweep(axes, small, config)
    assert "diverged" in expected.status.sel(learning_rate=1e30)
    before = jax.config.values[name]
    jax.clear_caches()
    jax.config.update(name, value)
    try:
        results = sweep(axes, small, config, keep_states="all")[0]
        assert jax.config.values[name] == value
    finally:
        jax.config.update(name, before)
    assert expected.identical(results)


RESUMED = """
import sys
from fmnist_jax import devices
devices.num_cpu_cores = lambda: int(sys.argv[1])
from fmnist_jax.runner.command_line import main
from fmnist_jax.sweeps import checkpoints
from experiments.scale_sweep import EXPERIMENT
write, count = checkpoints.write, []

def stop_after_the_first(*arguments):
    write(*arguments)
    raise KeyboardInterrupt

if sys.argv[2] == "stop":
    checkpoints.write = stop_after_the_first
main(EXPERIMENT, ["x", *sys.argv[3:]])
"""


@pytest.mark.slow
def test_a_sweep_resumes_with_fewer_cores_to_the_same_bytes(tmp_path: Path) -> None:
    def sweep_with(cores: int, how: str, name: str) -> int:
        more = ["--num_seeds=3", f"--out_dir={tmp_path / name}"]
        flags = [*(f for f in FLAGS if f != "--num_seeds=1"), *more]
        return run("-c", RESUMED, str(cores), how, *flags).returncode

    assert sweep_with(3, "", "undisturbed") == 0
    assert sweep_with(3, "stop", "resumed") == 130
    assert sweep_with(1, "", "resumed") == 0
    names = ("undisturbed", "resumed")
    contents = {(tmp_path / name / "results.nc").read_bytes() for name in names}
    assert len(contents) == 1


URLS = ["gs://bucket/x", "s3://bucket/x", "https://host/x", "file:///x", "hdfs:/x"]


@pytest.mark.parametrize("url", URLS)
def test_urls_are_no_folders(
    tmp_path: Path,
    url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    small: Data,
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refusal(url, capsys)
    assert line == (
        f"Error: --out_dir is '{url}', a URL; expected the path of a folder of this "
        "machine."
    )
    assert "data_dir is" in refusal("none", capsys, f"--data_dir={url}")
    zoom = [
        "--refine=32",
        "--zoom=1:9,.1:1",
        f"--zoom_from={url}",
    ]
    argv = ["x", "--dataset=synthetic", *zoom]
    with pytest.raises(UserError, match=r"--zoom_from is .*, a URL"):
        command_line.execute([trainability_map.EXPERIMENT], argv)
    with pytest.raises(UserError, match=r"folder is .*, a URL"):
        merge.run(["x", url])
    with pytest.raises(UserError, match=r"--docs_dir is .*, a URL"):
        reproduce.parse(["x", f"--docs_dir={url}"])
    with pytest.raises(UserError, match=r"folder is .*, a URL"):
        sweep({"seed": range(1)}, small, Config(num_epochs=1), folder=url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("home", ["", "relative", "/nowhere/at/all", None])
def test_without_a_home_directory_no_folder_is_made(
    tmp_path: Path, home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.delenv("FMNIST_JAX_OFFLINE", raising=False)
    if home is None:  # as for a user who is not in the list of users
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    else:
        monkeypatch.setenv("HOME", home)
    assert with_home("~/results") is None
    assert cache_folder() is None
    with pytest.raises(UserError, match=r"^--out_dir is '~/x', but ~ is no home"):
        local_folder("~/x", "--out_dir")
    with pytest.raises(UserError, match=r"~nobody_of_this_name is no home directory"):
        local_folder("~nobody_of_this_name/x")
    with pytest.raises(UserError, match=r"there is no ~/\.cache; set HOME or XDG_CA"):
        load("mnist")
    assert list(tmp_path.iterdir()) == []


def test_caches_are_full_paths_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for other in ("relative/cache", "gs://bucket/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", other)
        assert cache_folder() == tmp_path / ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert cache_folder() == tmp_path / "other"
    assert with_home("~/x") == tmp_path / "x"
    for name in ("KERAS_HOME", "TFDS_DATA_DIR"):
        monkeypatch.setenv(name, "gs://bucket/x")
    with pytest.raises(UserError, match="was not found") as caught:
        load("mnist")
    assert "bucket" not in str(caught.value)


@pytest.mark.parametrize("place", ["gs://bucket/cache", "s3://bucket/cache"])
def test_a_cache_of_compiled_programs_elsewhere_is_passed_to_jax(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", place)
        assert use_compilation_cache() == place
        assert jax.config.values["jax_compilation_cache_dir"] == place
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "~nobody_of_this_name/x")
        assert use_compilation_cache(tmp_path / "cache") is None
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv("HOME", "")
        assert use_compilation_cache() is None
        assert use_compilation_cache(tmp_path / "cache") == tmp_path / "cache"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert list(tmp_path.iterdir()) == []


def test_a_saved_sweep_of_more_devices_names_the_call_that_makes_them(
    small: Data,
) -> None:
    planned = plan({"seed": range(3)}, Config(num_epochs=1), Hparams(), 3)
    with pytest.raises(UserError, match=r"call use_cpu_cores\(3\) before any other"):
        check_plan(planned, small, num_devices=2)
