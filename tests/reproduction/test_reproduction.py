"""Rows of the sources, as they are trained, judged and shown."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from experiments import reproduce
from experiments.reproduction import judging, measuring, tables
from experiments.reproduction.references import load
from experiments.reproduction.rows import TRAININGS
from fmnist_jax.config import check_all, resolve, uses_setting
from fmnist_jax.errors import UserError
from fmnist_jax.runner import output_folder

REFERENCES = load()
SMALL = [
    "--dataset=synthetic", "--train_examples=64", "--test_examples=50", "--epochs=2",
    "--num_seeds=2",
]  # fmt: skip


def published_runs(name: str, shift: float = 0.0, seeds: int = 5) -> xr.Dataset:
    """Runs that gave what a row published, but for a spread of a thousandth."""
    row = REFERENCES.rows[name]
    noise = 1e-3 * np.linspace(-1, 1, seeds)[:, None]
    found: dict[str, Any] = {
        metric: (("seed", "epoch"), np.nan_to_num(values) + noise + shift)
        for metric, values in row.published.items()
    }
    if "train_loss_and_penalty" in found:
        found["train_loss"] = found.pop("train_loss_and_penalty")
        found["train_penalty"] = found["train_loss"][0], 0 * found["train_loss"][1]
    return xr.Dataset(found)


def test_every_row_is_trained_for_long_enough() -> None:
    for name, row in REFERENCES.rows.items():
        trainings = judging.trained_for(name)
        assert trainings, name
        assert all(t.epochs >= row.num_epochs for t in trainings.values()), name
    claimed = {row for t in TRAININGS.values() for row in t.rows}
    assert claimed == REFERENCES.rows.keys()


@pytest.mark.parametrize("name", TRAININGS)
def test_settings_are_those_of_the_rows(name: str) -> None:
    training = TRAININGS[name]
    config, hparams = training.resolved()
    check_all(config, hparams)
    assert all(uses_setting(config, setting) for setting in training.settings)
    rate = resolve(config, hparams).learning_rate
    for row_name in training.rows:
        words = REFERENCES.rows[row_name].config
        if "÷" in words and "{" not in words and " and " not in words:
            divisor = f"÷{hparams.divisor:g}".replace("e+06", "e6")
            assert divisor in words or "÷(255·10⁴)" in words, (words, divisor)
        for optimizer in ("Adam", "SGD"):
            if f"{optimizer} " in words:
                assert config.optimizer in (optimizer.lower(), "momentum")
                told = words.split(f"{optimizer} ")[1].split(",")[0].split(" ")[0]
                assert rate == pytest.approx(float(told)), words


def test_no_configuration_is_trained_twice() -> None:
    seen = [(*t.resolved(), t.dataset) for t in TRAININGS.values()]
    keys = {(hash(c), str(h), d) for c, h, d in seen}
    assert len(keys) == len(TRAININGS)


@pytest.mark.parametrize("name", [n for n, r in REFERENCES.rows.items() if r.published])
def test_a_row_agrees_with_itself_and_not_with_another(name: str) -> None:
    row = REFERENCES.rows[name]
    verdict, _ = judging.judge(row, published_runs(name))
    assert verdict.verdict == "agrees"
    verdict, _ = judging.judge(row, published_runs(name, shift=9.0))
    assert (verdict.verdict, verdict.num_agreeing) == ("differs", 0)


def test_dropout_is_read_both_ways_and_judged_as_published() -> None:
    row, runs = REFERENCES.rows["dropout"], published_runs("dropout")
    names = row.also_compared_with
    off = runs.rename(names).assign({n: runs[n] + 0.1 for n in names})
    verdict, said = judging.judge(row, off)
    assert verdict.verdict == "differs"
    assert f"with dropout off, {verdict.num_published} of" in said


def test_the_law_of_frozen_runs() -> None:
    wrong = np.array([[0.9, 0.9, 0.9], [0.7, 0.9, 0.8]])
    found = {"test_loss": 16.118 * wrong, "test_accuracy": 1 - wrong}
    found["test_loss"][0, 1] += 0.003
    runs = xr.Dataset({n: (("seed", "epoch"), v) for n, v in found.items()})
    said = judging.law_text(runs)
    assert "holds to 0.0030" in said
    assert "1 of 2 seeds moved" in said


def test_numbers_that_disagree_are_bold() -> None:
    row = REFERENCES.rows["depth-0"]
    runs = published_runs("depth-0")
    runs.test_loss[:, 2] += 0.5
    table = "\n".join(tables.row_table(row, runs))
    assert table.count("**") == 2
    assert f"**{row.published['test_loss'][2]:.3f}**" in table


def test_a_small_reproduction_and_its_resumption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    argv = ["reproduce", *SMALL, f"--out_dir={tmp_path}"]
    only = "--only=depth-0,batch-10000,claim-batch-updates,claim-symmetric"
    reproduce.run([*argv, only])
    text_of_page = (tmp_path / "reproduction.md").read_text(encoding="utf-8")
    for text in ("depth-0", "batch-10000", "claim-batch-updates", "**contradicted**"):
        assert text in text_of_page
    assert "| claim-depth-0 |" not in text_of_page
    assert (tmp_path / "reproduction" / "depth-0.png").stat().st_size > 10_000
    kept = xr.open_dataset(tmp_path / "depth-0.seeds0-1.nc")
    assert kept.sizes["epoch"] == 2
    final = kept.test_loss.isel(epoch=-1).values
    assert f"{final.mean():.3f} ± {final.std(ddof=1):.3f}" in text_of_page

    def no_more(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("fmnist_jax.sweeps.engine.sweep", no_more)
    capsys.readouterr()
    reproduce.run([*argv, only])
    assert (tmp_path / "reproduction.md").read_text(encoding="utf-8") == text_of_page
    fewer = [flag.replace("examples=50", "examples=40") for flag in argv]
    with pytest.raises(UserError, match="choose another --out_dir"):
        reproduce.run([*fewer, "--only=depth-0"])
    shorter = [flag.replace("epochs=2", "epochs=1") for flag in argv]
    with pytest.raises(UserError, match="trained with num_epochs 2, now 1"):
        reproduce.run([*shorter, "--only=depth-0"])


def test_no_room_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def no_room(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    out_dir = tmp_path / "out"
    argv = ["reproduce", *SMALL, "--only=depth-0", f"--out_dir={out_dir}"]
    said = rf"^{out_dir} cannot be written: No space left on device\.$"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", no_room)
        with pytest.raises(UserError, match=said):
            reproduce.run(argv)
    assert not out_dir.exists()
    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", no_room)
        with pytest.raises(UserError, match=said):
            reproduce.run(argv)
    assert not (out_dir / "parts").exists()
    capsys.readouterr()
    with output_folder.locked(out_dir), pytest.raises(UserError, match="in use"):
        reproduce.run(argv)
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match=r"^--docs_dir=/proc/x cannot be written: "):
        reproduce.run([*argv, "--docs_dir=/proc/x"])


def test_more_seeds_are_added_to_those_that_are_kept(tmp_path: Path) -> None:
    from fmnist_jax.data import load as load_data

    data = load_data("synthetic", train_examples=64, test_examples=50)
    training = TRAININGS["depth-0"]
    first = measuring.measure("depth-0", training, 2, data, tmp_path, 1)
    more = measuring.measure("depth-0", training, 3, data, tmp_path, 1)
    assert more.seed.values.tolist() == [0, 1, 2]
    xr.testing.assert_identical(more.isel(seed=slice(2)).test_loss, first.test_loss)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "depth-0.seeds0-1.nc", "depth-0.seeds2-2.nc",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--only=depth-9", "Unknown row or claim 'depth-9'"),
        ("--num_seeds=1", "at least 2"),
        ("--epoch=3", "Unknown flag --epoch. Did you mean --epochs?"),
        ("--learning_rate=1", "Unknown flag --learning_rate. --help lists"),
        ("depth-0", "Stray argument"),
    ],
)
def test_mistakes_get_one_line(flag: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        reproduce.parse(["reproduce", flag])


def test_a_row_without_published_numbers_is_not_judged() -> None:
    runs = published_runs("depth-1").isel(epoch=slice(2))
    verdict, _ = judging.judge(REFERENCES.rows["l2"], runs)
    assert verdict.verdict == "none published"
