"""What may be a mistake is a warning in the library, a line on the terminal."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from experiments.scale_sweep import EXPERIMENT
from fmnist_jax import (
    Config,
    Data,
    Dataset,
    Hparams,
    Notice,
    Part,
    UserError,
    load,
    sweep,
)
from fmnist_jax.analysis import results
from fmnist_jax.runner import command_line
from fmnist_jax.sweeps.labelling import join
from fmnist_jax.sweeps.planning import plan
from tests.data.data_files import write

CONFIG = Config(hidden_sizes=(2,), num_epochs=1, batch_size=50)
RNG = np.random.default_rng(0)
TINY = [*RNG.uniform(0, 1, (2, 100, 4)).astype(np.float32)]
LABELS = np.arange(100) % 2
SCALED = Data(Dataset(TINY[0], LABELS), Dataset(TINY[1], LABELS), notice="made up")


@pytest.mark.slow
def test_sweep_warns_and_its_results_keep_the_lines(tmp_path: Path) -> None:
    with pytest.warns(Notice) as record:
        dataset = sweep({}, SCALED, CONFIG)
    lines = [str(warning.message) for warning in record]
    assert lines[0] == "made up"
    assert "divided by 255" in lines[1]
    assert len(lines) == 2
    assert {warning.filename for warning in record} == {__file__}
    assert dataset.attrs["notices"] == lines
    for kept in (lines, lines[1:]):
        dataset.attrs["notices"] = kept
        results.save(dataset, tmp_path, {})
        assert [*results.load(tmp_path).attrs["notices"]] == kept


def test_nothing_is_added_if_there_is_nothing_to_say(small: Data) -> None:
    assert "notices" not in join(plan({}, CONFIG, Hparams()), [part()], small).attrs


@pytest.mark.parametrize(
    ("axes", "is_noticed"), [({}, True), ({"divisor": [1.0, 255.0]}, False)]
)
def test_the_divisors_are_those_of_the_sweep(axes: Any, is_noticed: bool) -> None:
    attrs = join(plan(axes, CONFIG, Hparams()), [part(len(axes) + 1)], SCALED).attrs
    assert len(attrs["notices"]) == 1 + is_noticed


@pytest.mark.parametrize(
    ("normalization", "high", "is_noticed"),
    [
        ("unit", 16, True),
        ("symmetric", 16, True),
        ("standard", 16, False),
        ("unit", 200, False),
    ],
)
def test_bytes_that_do_not_reach_255_are_noticed(
    normalization: str, high: int, is_noticed: bool
) -> None:
    """As scikit-learn's digits, which unit and symmetric would take for 0 to 255."""
    images = RNG.integers(0, high + 1, (2, 100, 4), dtype=np.uint8)
    data = Data(Dataset(images[0], LABELS), Dataset(images[1], LABELS))
    config = dataclasses.replace(CONFIG, normalization=normalization)
    attrs = join(plan({}, config, Hparams()), [part()], data).attrs
    lines = attrs.get("notices", [])
    assert len(lines) == is_noticed
    assert all("maximum here is 16. To divide by it, pass" in line for line in lines)


def part(runs: int = 1) -> Any:
    """Results as a group of runs of one epoch gives them."""
    names = (
        *("train_loss", "test_loss", "train_accuracy_running", "parameters_finite"),
        *("final_train_accuracy", "dead_layers", "zero_gradient_share", "stopped"),
    )
    return Part(0, tuple(range(runs)), 1, {name: np.ones(runs) for name in names})


def test_results_side_by_side_have_the_notices_of_all() -> None:
    one = xr.Dataset(attrs={"dataset": "a"})
    notes = {"dataset": "b", "notices": ["x"]}
    two, three = one.assign_attrs(notes), one.assign_attrs({**notes, "notices": ["y"]})
    parts = dict(zip("abc", (one, two, three), strict=True))
    assert results.stack("v", parts).attrs["notices"] == ["x", "y"]
    parts = dict(zip("abc", (two, two, one), strict=True))
    assert results.stack("v", parts).attrs["notices"] == ["x"]
    assert results.stack("v", {"a": one}).attrs == {"dataset": "a"}


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (TINY[0], LABELS * 0, "has only class 0"),
        (TINY[0] * 0 + 3, LABELS, "All training rows are the same"),
    ],
)
def test_data_that_teach_nothing_are_refused_before_a_run(
    images: np.ndarray, labels: np.ndarray, words: str
) -> None:
    data = Data(Dataset(images, labels), Dataset(TINY[1], LABELS))
    with pytest.raises(UserError, match=words):
        sweep({}, data, CONFIG)


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """A folder of IDX files, sorted by class, with pixels 0 and 1."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(4), 50)
    arrays = {"train_labels": labels, "test_labels": labels}
    for split in ("train", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 2, (200, 28, 28))
    return write(tmp_path / "d", {k: v.astype(np.uint8) for k, v in arrays.items()})


def run(folder: Path, *more: str) -> None:
    argv = ["x", "--dataset=idx", f"--data_dir={folder}", "--losses=softmax", *more]
    command_line.execute([EXPERIMENT], argv)


@pytest.mark.slow
def test_the_terminal_shows_a_line_and_no_warning(
    binary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--divisors=255", "--num_seeds=1", "--epochs=1", "--hidden_sizes=none")
    out_dir = tmp_path / "out"
    for flags in (("--dry_run",), (f"--out_dir={out_dir}",)):
        run(binary, *more, *flags)  # a Python warning would be an error
        notes = [n for n in capsys.readouterr().out.splitlines() if "Note: " in n]
        (line,) = notes
        assert line.startswith("Note: The training images are from 0 to 1: divided by")
    assert f"Note: {results.load(out_dir).attrs['notices'][0]}" == line
    facts = json.loads((out_dir / "config.json").read_text())
    assert [f"Note: {text}" for text in facts["notices"]] == [line]
    run(binary, "--divisors=1,255", "--dry_run")
    assert "Note: " not in capsys.readouterr().out


def test_subsets_on_the_command_line(
    binary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"120 of 200 train .* Pass --subset=stratif"):
        run(binary, "--train_examples=120", "--dry_run")
    with pytest.raises(UserError, match=r"120 of 200 test .* Pass --subset=stratified"):
        run(binary, "--test_examples=120", "--dry_run")
    run(binary, "--train_examples=120", "--subset=stratified", "--dry_run")
    assert "120 training and 200 test images" in capsys.readouterr().out
    with pytest.raises(UserError, match="--subset: 'any' is not allowed; expected one"):
        run(binary, "--train_examples=120", "--subset=any")
    with pytest.raises(UserError, match="--subset=first has no effect"):
        run(binary, "--subset=first", "--dry_run")
    with pytest.raises(UserError, match="has only class 0: there is nothing to learn"):
        run(binary, "--train_examples=9", "--dry_run")


def test_experiments_with_fewer_examples_follow_the_same_rule(binary: Path) -> None:
    few = dataclasses.replace(EXPERIMENT, train_examples=120)
    argv = ["x", "--dataset=idx", f"--data_dir={binary}", "--dry_run"]
    with pytest.raises(UserError, match="120 of 200 train examples lose classes"):
        command_line.execute([few], argv)
    with contextlib.redirect_stdout(None):
        command_line.execute([few], [*argv, "--subset=stratified"])


def test_a_missing_set_is_said_once_in_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "KERAS_HOME", "XDG_CACHE_HOME", "TFDS_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    data = load(train_examples=60, test_examples=20)
    assert data.notices([255.0]) == [data.notice]
    assert "could not be loaded" in data.notice
