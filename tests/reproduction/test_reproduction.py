"""The rows of the sources: how they are trained, judged and shown."""

import io
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from experiments import reproduce
from experiments.reproduction import measuring, page, tables, verdicts
from experiments.reproduction.configurations import CONFIGURATIONS, configurations_of
from experiments.reproduction.findings import (
    CONTRADICTED,
    SUPPORTED,
    VERDICTS,
    Finding,
    combine,
    machine_of,
)
from experiments.reproduction.references import load
from fmnist_jax.analysis import results
from fmnist_jax.config import check_all, resolve
from fmnist_jax.effects import uses_setting
from fmnist_jax.errors import UserError
from fmnist_jax.runner import output_folder

REFERENCES = load()
SMALL = [
    "--dataset=synthetic",
    "--train_examples=64",
    "--test_examples=50",
    "--epochs=2",
    "--num_seeds=2",
]


def published_runs(name: str, shift: float = 0.0, seeds: int = 5) -> xr.Dataset:
    """Runs with the published numbers of a row, and a spread of a thousandth."""
    row = REFERENCES.rows[name]
    noise = 1e-3 * np.linspace(-1, 1, seeds)[:, None]
    dims = ("seed", "epoch")
    variables: dict[str, Any] = {
        metric: (dims, np.nan_to_num(values) + noise + shift)
        for metric, values in row.published.items()
    }
    if verdicts.WITH_PENALTY in variables:
        _, losses = variables.pop(verdicts.WITH_PENALTY)
        variables |= {"train_loss": (dims, losses), "train_penalty": (dims, 0 * losses)}
    return xr.Dataset(variables)


def test_every_row_is_trained_for_long_enough() -> None:
    for name, row in REFERENCES.rows.items():
        names = configurations_of(name)
        assert names, name
        assert all(CONFIGURATIONS[n].epochs >= row.num_epochs for n in names), name
    trained = {row for c in CONFIGURATIONS.values() for row in c.rows}
    assert trained == REFERENCES.rows.keys()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_settings_are_those_of_the_rows(name: str) -> None:
    configuration = CONFIGURATIONS[name]
    config, hparams = configuration.resolved()
    check_all(config, hparams)
    assert all(uses_setting(config, setting) for setting in configuration.settings)
    learning_rate = resolve(config, hparams).learning_rate
    for row_name in configuration.rows:
        words = REFERENCES.rows[row_name].config
        if "÷" in words and "{" not in words and " and " not in words:
            divisor = f"÷{resolve(config, hparams).divisor:g}".replace("e+06", "e6")
            assert divisor in words or "÷(255·10⁴)" in words, (words, divisor)
        for optimizer in ("Adam", "SGD"):
            if f"{optimizer} " in words:
                assert config.optimizer in (optimizer.lower(), "momentum")
                text = words.split(f"{optimizer} ")[1].split(",")[0].split(" ")[0]
                assert learning_rate == pytest.approx(float(text)), words


def test_no_configuration_is_trained_twice() -> None:
    settings = [(*c.resolved(), c.dataset) for c in CONFIGURATIONS.values()]
    keys = {(hash(c), str(h), d) for c, h, d in settings}
    assert len(keys) == len(CONFIGURATIONS)


@pytest.mark.parametrize("name", [n for n, r in REFERENCES.rows.items() if r.published])
def test_a_row_agrees_with_itself_and_not_with_another(name: str) -> None:
    row = REFERENCES.rows[name]
    verdict = verdicts.judge(row, published_runs(name))
    assert verdict.verdict == "agrees"
    verdict = verdicts.judge(row, published_runs(name, shift=9.0))
    assert (verdict.verdict, verdict.num_agreeing) == ("differs", 0)


def test_dropout_is_judged_as_published_and_compared_both_ways() -> None:
    row, runs = REFERENCES.rows["dropout"], published_runs("dropout")
    names = row.also_compared_with
    off = runs.rename(names).assign({n: runs[n] + 0.1 for n in names})
    verdict = verdicts.judge(row, off)
    assert verdict.verdict == "differs"
    sentence = page.other_reading_text(row, off)
    assert f"with dropout off, {verdict.num_published} of" in sentence


def test_the_loss_of_saturated_runs_follows_from_their_accuracy() -> None:
    wrong = np.array([[0.9, 0.9, 0.9], [0.7, 0.9, 0.8]])
    values = {"test_loss": 16.118 * wrong, "test_accuracy": 1 - wrong}
    values["test_loss"][0, 1] += 0.003
    runs = xr.Dataset({n: (("seed", "epoch"), v) for n, v in values.items()})
    sentences = page.clip_relation_text(runs)
    assert "holds to within 0.0030" in sentences
    assert "In 1 of 2 runs, the test loss changed" in sentences


def test_numbers_that_disagree_are_bold() -> None:
    row = REFERENCES.rows["depth-0"]
    runs = published_runs("depth-0")
    runs.test_loss[:, 2] += 0.5
    table = tables.row_table(row, runs)
    assert table.count("**") == 2
    assert f"**{row.published['test_loss'][2]:.3f}**" in table


def frozen_runs() -> xr.Dataset:
    """Runs with the losses and accuracies of scale-keras-1, of which one differs."""
    wrong = np.array([0.724, 0.9, 0.9, 0.9, 0.9, 0.9])[:, None] * np.ones(5)
    values = {"test_loss": 16.118 * wrong, "test_accuracy": 1 - wrong}
    values |= {"train_loss": 16.0 * wrong, "train_accuracy": 1 - wrong}
    runs = xr.Dataset({n: (("seed", "epoch"), v) for n, v in values.items()})
    return runs.assign(status=("seed", ["frozen"] * 6))


def test_bimodal_seeds_are_shown_as_two_groups() -> None:
    row, runs = REFERENCES.rows["scale-keras-1"], frozen_runs()
    lines = tables.row_table(row, runs).splitlines()
    assert "|  | ours, 5 of 6 seeds | 14.5 | 14.5 | 14.5 | 14.5 | 14.5 |" in lines
    assert "|  | ours, 1 of 6 seeds | 11.7 | 11.7 | 11.7 | 11.7 | 11.7 |" in lines
    assert "±" not in "".join(lines)
    lines = tables.final_table({"keras-1": runs}).splitlines()[2:]
    assert lines == [
        "| keras-1, 5 of 6 seeds | 5 | 14.4 | 14.5 | 10.0 | 10.0 | frozen 5 |",
        "| keras-1, 1 of 6 seeds | 5 | 11.6 | 11.7 | 27.6 | 27.6 | frozen 1 |",
    ]
    assert "form two groups" in page.bimodal_text(row, runs)
    one = runs.isel(seed=slice(1, None))
    assert page.bimodal_text(row, one) == ""
    assert "|  | ours | 14.400 ± 0.000" not in tables.row_table(row, runs)
    assert "|  | ours | 14.4 ± 0.0" in tables.row_table(row, one)
    halves = frozen_runs()
    halves.test_accuracy[:3] = 0.5
    assert tables.final_table({"keras-1": halves}).count("3 of 6 seeds") == 2


def test_the_page_lists_sources_verdicts_and_the_expected_errors() -> None:
    runs = {"depth-0": published_runs("depth-0")}
    runs["depth-0"].attrs["dataset_title"] = "Fashion-MNIST"
    part = Finding(SUPPORTED, "+1 point", is_comparison=True)
    findings = {
        "claim-symmetric": Finding(CONTRADICTED, "Eigenvalues."),
        "claim-shuffle": combine({"a": part, "b": part}, "Shares."),
        "claim-needs-time": combine({"a": part, "b": Finding(CONTRADICTED)}, "", "x"),
    }
    text = "\n".join(page.pages(REFERENCES, runs, findings).values())
    for source in REFERENCES.sources.values():
        assert text.count(f"*{source.title}*") == 1
    assert all(f"- *{verdict}*: " in text for verdict in VERDICTS)
    words = " ".join(text.split())
    assert "There are 3 claims. 2 of them are decided by 3 comparisons" in words
    assert "at most 5 % of the comparisons, 0.2 of 3, would be" in words
    assert "**depends on** x (supported: a; contradicted: b) |" in text
    quotation = 'source-comment), in the words "more or less symmetric".'
    assert f"[comment](reproduction.md#{quotation}" in text
    assert "[tutorial](reproduction.md#source-tutorial) (paraphrased)." in text
    assert "batch 32 | **agrees** | 20 of 20 | 20 | " in text


@pytest.mark.slow
def test_a_small_reproduction_and_its_resumption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    argv = ["reproduce", *SMALL, f"--out_dir={tmp_path}"]
    only = "--only=depth-0,batch-10000,claim-batch-updates,claim-symmetric"
    reproduce.run([*argv, only])
    path = tmp_path / "reproduction.md"
    first_page = path.read_text(encoding="utf-8")
    names = ("depth-0", "batch-10000", "claim-batch-updates")
    for text in (*names, "**arithmetic error**", "**contradicted**"):
        assert text in first_page
    assert "claim-depth-0" not in first_page.split("# Claims")[1]
    assert (tmp_path / "reproduction" / "depth-0.png").stat().st_size > 10_000
    saved = xr.open_dataset(tmp_path / "depth-0.seeds0-1.nc")
    assert saved.sizes["epoch"] == 2
    final = saved.test_loss.isel(epoch=-1).values
    rows = (tmp_path / "reproduction_rows.md").read_text(encoding="utf-8")
    assert f"{final.mean():.3f} ± {final.std(ddof=1):.3f}" in rows

    def no_training(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(measuring, "sweep", no_training)
    capsys.readouterr()
    reproduce.run([*argv, only])
    assert path.read_text(encoding="utf-8") == first_page
    fewer = [flag.replace("examples=50", "examples=40") for flag in argv]
    with pytest.raises(UserError, match="choose another --out_dir"):
        reproduce.run([*fewer, "--only=depth-0"])
    shorter = [flag.replace("epochs=2", "epochs=1") for flag in argv]
    with pytest.raises(UserError, match="trained with num_epochs 2, now 1"):
        reproduce.run([*shorter, "--only=depth-0"])


@pytest.mark.slow
def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def no_space(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    def no_space_for_files(figure: Figure, file: Any, **kwargs: Any) -> None:
        if not isinstance(file, io.BytesIO):  # of the trial before the training
            no_space()

    out_dir = tmp_path / "out"
    argv = ["reproduce", *SMALL, "--only=depth-0", f"--out_dir={out_dir}"]
    message = rf"^{out_dir} cannot be written: No space left on device\.$"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", no_space)
        with pytest.raises(UserError, match=message):
            reproduce.run(argv)
    assert not out_dir.exists()
    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", no_space_for_files)
        with pytest.raises(UserError, match=message):
            reproduce.run(argv)
    assert not (out_dir / "parts").exists()
    capsys.readouterr()
    with output_folder.locked(out_dir), pytest.raises(UserError, match="in use"):
        reproduce.run(argv)
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match=r"^--docs_dir=/proc/x cannot be written: "):
        reproduce.run([*argv, "--docs_dir=/proc/x"])


def test_times_of_other_data_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fmnist_jax.data import load as load_data

    monkeypatch.setattr(measuring, "sweep", lambda *_: None)
    data = load_data("synthetic", train_examples=64, test_examples=50)
    times = measuring.epoch_seconds(data, tmp_path)
    again = measuring.epoch_seconds(data, tmp_path)
    xr.testing.assert_identical(again.seconds, times.seconds)
    with pytest.raises(UserError, match="epoch-seconds were measured on different"):
        measuring.epoch_seconds(data.first(train=32), tmp_path)


@pytest.mark.slow
def test_more_seeds_are_added_to_saved_ones(tmp_path: Path) -> None:
    from fmnist_jax.data import load as load_data

    data = load_data("synthetic", train_examples=64, test_examples=50)
    first = measuring.train("depth-0", 2, data, tmp_path, 1)
    more = measuring.train("depth-0", 3, data, tmp_path, 1)
    assert more.seed.values.tolist() == [0, 1, 2]
    xr.testing.assert_identical(more.isel(seed=slice(2)).test_loss, first.test_loss)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["depth-0.seeds0-1.nc", "depth-0.seeds2-2.nc"]
    this = f"{jax.devices()[0].device_kind} with jax {jax.__version__}"
    assert machine_of(first) == machine_of(more) == this

    path = tmp_path / names[0]
    # Results of a version without a setting had its default.
    other = results.load(path).assign_attrs(machine="a toaster")
    other = other.drop_vars(["normalization", "offset"])
    save_again(other, path)
    merged = measuring.train("depth-0", 3, data, tmp_path, 1)
    assert machine_of(merged) == f"a toaster and {this}"
    save_again(other, tmp_path / "depth-0.seeds1-2.nc")
    message = rf"^2 files in {tmp_path} hold seed 0 of depth-0; keep one\.$"
    with pytest.raises(UserError, match=message):
        measuring.train("depth-0", 3, data, tmp_path, 1)
    (tmp_path / "depth-0.seeds1-2.nc").unlink()
    save_again(other.drop_vars("final_train_accuracy"), path)
    with pytest.raises(UserError, match="those of an earlier version"):
        measuring.train("depth-0", 3, data, tmp_path, 1)


def save_again(dataset: xr.Dataset, path: Path) -> None:
    path.unlink(missing_ok=True)
    results.save_netcdf(dataset, path)


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
    verdict = verdicts.judge(REFERENCES.rows["l2"], runs)
    assert verdict.verdict == "none published"


def test_epochs_of_lower_learning_rates_by_run() -> None:
    rates = np.array([np.full(30, 1e-3), np.r_[np.full(4, 1e-3), np.full(26, 5e-4)]])
    runs = xr.Dataset({"epoch_learning_rate": (("seed", "epoch"), rates)})
    table = page.learning_rate_table(REFERENCES.rows["annealing"], runs)
    _, _, published, first, second = table.splitlines()
    assert published == "| published | 2, 8, 11, 14, 15, 16, 17 |"
    assert (first, second) == ("| seed 0 | – |", "| seed 1 | 4 |")
    assert page.learning_rate_table(REFERENCES.rows["depth-0"], runs) == ""
