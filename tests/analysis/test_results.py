import json
import math
import resource
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fmnist_jax.analysis import report, results
from fmnist_jax.config import LOSS_LEGENDS
from fmnist_jax.errors import UserError
from fmnist_jax.files import atomic_write
from fmnist_jax.probes.status import STATUSES

ACCURACY = np.array(  # [divisor, loss, seed]
    [[[0.10, 0.10, 0.28], [0.80, 0.82, 0.81]], [[0.87, 0.88, 0.86], [0.86, 0.86, 0.86]]]
)


def make(accuracy: np.ndarray = ACCURACY, status: str = "trained") -> xr.Dataset:
    """Returns results of two divisors and two losses with given test accuracies."""
    dims = ("divisor", "loss", "seed", "epoch")
    values = np.stack([accuracy / 2, accuracy], -1).astype(np.float32)
    names = {
        "test_accuracy": "test accuracy",
        "test_loss": "test loss",
        "train_accuracy": "training accuracy",
        "train_loss": "training loss",
    }
    statuses = np.full(accuracy.shape, status, dtype="U8")
    return xr.Dataset(
        {n: (dims, values.copy(), {"long_name": label}) for n, label in names.items()}
        | {"status": (dims[:-1], statuses, {"long_name": "status", **STATUSES})},
        {
            "divisor": [1.0, 255.0][: accuracy.shape[0]],
            "loss": (
                "loss", ["clipped", "softmax"][: accuracy.shape[1]], {**LOSS_LEGENDS}
            ),
            "seed": np.arange(accuracy.shape[2]),
            "epoch": [1, 2],
            "optimizer": "adam",
        },
        {
            "dataset": "fashion_mnist", "dataset_title": "Fashion-MNIST",
            "num_classes": 10,
        },
    )  # fmt: skip


def test_saved_results_load_unchanged(tmp_path: Path) -> None:
    dataset = make()
    paths = results.save(
        dataset, tmp_path, {"rate": [0.1, np.nan, {"x": np.inf}], "note": "é"}
    )
    assert [path.name for path in paths] == ["results.nc", "summary.csv", "config.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in paths
    )
    xr.testing.assert_identical(results.load(tmp_path), dataset)
    with xr.open_dataset(tmp_path / "results.nc") as opened:
        xr.testing.assert_identical(opened.load(), dataset)
    assert json.loads(paths[2].read_text()) == {
        "rate": [0.1, None, {"x": None}], "note": "é"
    }  # fmt: skip


def test_class_names_are_kept_if_the_data_sets_share_them(tmp_path: Path) -> None:
    first = make().assign_attrs(class_names=["a", "b c"], machine="x")
    results.save(first, tmp_path, {})
    saved = results.load(tmp_path)
    assert [*saved.attrs["class_names"]] == ["a", "b c"]
    for other, names in ((first, ["a", "b c"]), (make(), None)):
        stacked = results.stack(
            "set", {"1": saved, "2": other.assign_attrs(machine="y")}
        )
        kept = stacked.attrs.get("class_names")
        assert (None if kept is None else [*kept]) == names
        assert stacked.attrs["machine"] == "x, y"
        assert stacked.attrs["num_classes"] == 10


def test_a_failed_save_leaves_the_old_file_only(tmp_path: Path) -> None:
    path = tmp_path / "results.nc"
    path.write_text("old")
    with pytest.raises(TypeError), atomic_write(path) as new:
        new.write_text(b"not a text")  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_or_damaged_results_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no results at"):
        results.load(tmp_path)
    (tmp_path / "results.nc").write_text("damaged")
    with pytest.raises(UserError, match="cannot be read"):
        results.load(tmp_path)


def test_summary_is_the_last_epoch_over_seeds() -> None:
    summary = results.summarise(make()).set_index(["divisor", "loss"])
    assert list(summary.index) == [
        (1, "clipped"), (1, "softmax"), (255, "clipped"), (255, "softmax")
    ]  # fmt: skip
    row = summary.loc[(1, "clipped")]
    assert row["test_accuracy_mean"] == pytest.approx(0.16)
    assert row["test_accuracy_std"] == pytest.approx(0.0108**0.5)  # n - 1
    assert (row["seeds"], row["status"]) == (3, "trained")
    assert row["dataset"] == "fashion_mnist"
    dataset = make()
    dataset.status[0, 0] = ["frozen", "dead", "frozen"]
    dataset.test_loss[0, 0, 1, -1] = np.nan
    row = results.summarise(dataset).iloc[0]
    assert row["status"] == "dead 1, frozen 2"
    assert np.isnan(row["test_loss_mean"])
    assert np.isnan(results.summarise(make(ACCURACY[..., :1]))["test_loss_std"]).all()


def test_table_shows_percent_and_spread() -> None:
    text = report.table(make())
    assert text.splitlines()[3].split()[:8] == [
        "÷255", "clipped", "87.00", "±", "1.00", "0.8700", "±", "0.0100"
    ]  # fmt: skip
    assert "±" not in report.table(make(ACCURACY[..., :1]))
    dataset = make()
    dataset.test_accuracy[0, 0, 0, -1] = np.nan
    dataset.train_loss[0, 0, :, -1] = 1e33
    assert "1e+33 ± 0" in report.table(dataset)
    dataset.test_loss[1, 0, 0, -1] = np.inf  # no warning either
    row = report.table(dataset).splitlines()[1].split()
    assert row[:4] == ["÷1", "clipped", "–", "0.1600"]


def test_any_table_is_formatted_for_readers() -> None:
    summary = results.summarise(make())
    assert report.format_table(summary).equals(report.format_summary(summary))
    wider = summary.assign(target_accuracy=math.inf, b1=math.nan, times_larger=2.5)
    table = report.format_table(wider)  # more than a summary's columns: all are shown
    assert [*table][:3] == ["pixel divisor", "loss", "test accuracy mean"]
    assert [*table][-3:] == ["target accuracy", "b1", "times larger"]
    assert table["b1"].isna().all()
    assert table.iloc[0, 0] == "÷1"
    assert table["target accuracy"].eq("never").all()
    assert table["times larger"].eq(2.5).all()
    unseen = summary.assign(train_accuracy_mean=math.nan, train_loss_mean=math.nan)
    shown = [*report.format_table(unseen)]  # of runs that were not evaluated on it
    assert not [label for label in shown if "train" in label]
    assert "test acc. %" in shown


def test_sentences_name_the_best_and_its_uncertainty() -> None:
    contrast, best = report.sentences(make())
    # Leads over seeds .01 .02 .00: mean 1, standard error .577, t(.975, 2) = 4.303.
    assert best == (
        "Best test accuracy: ÷255 clipped, 87.00 ± 1.00 % (3 seeds), chosen on the "
        "test set; 1.00 points ahead of ÷255 softmax (95 % interval for these two "
        "alone -1.48 to +3.48, paired over seeds), so the two may be equal."
    )
    assert "clipped (÷1: 16.0 %, ÷255: 87.0 %)" in contrast
    accuracy = ACCURACY.copy()
    accuracy[1, 0] = [0.96, 0.97, 0.965]
    assert "so it is probably better" in report.sentences(make(accuracy))[1]
    accuracy[1, 0] = accuracy[1, 1]
    assert "equal to ÷255 softmax" in report.sentences(make(accuracy))[1]
    (alone,) = report.sentences(make(ACCURACY[1:, :1]))
    assert alone.startswith("Test accuracy after the last epoch: 87.00 ± 1.00 %")


def test_with_a_validation_set_settings_are_chosen_by_it() -> None:
    dataset = make()
    validation = 1 - dataset.test_accuracy  # the worst on the test set is the best
    dataset["validation_accuracy"] = dataset["validation_loss"] = validation
    assert results.selection_metric(dataset) == "validation_accuracy"
    _, best, test = report.sentences(dataset)
    assert best.startswith("Best validation accuracy: ÷1 clipped, 84.00 ± ")
    assert "chosen on the test set" not in best
    assert test == "Test accuracy of ÷1 clipped: 16.00 ± 10.39 %."
    assert results.at_best(dataset, "divisor").divisor.values.tolist() == [1, 1]
    assert results.at_best(make(), "divisor").divisor.values.tolist() == [255, 255]
    row = results.summarise(dataset).iloc[0]
    assert row["validation_accuracy_mean"] == pytest.approx(0.84)
    text = report.table(dataset)
    assert "validation acc. %" in text.splitlines()[0]
    assert "validation_loss_mean" not in results.summarise(make())


def test_sentences_name_the_runs_that_do_not_learn() -> None:
    dataset = make()
    dataset.status[0, 0] = ["frozen", "dead", "frozen"]
    dead, frozen = report.sentences(dataset)[2:]
    assert dead.startswith("1 of 12 runs dead: ÷1 clipped (1)")
    assert frozen.startswith("2 of 12 runs frozen: ÷1 clipped (2)")
    assert STATUSES["frozen"] in frozen
    none = make(np.full_like(ACCURACY, np.nan), "diverged")
    assert report.sentences(none)[1].startswith("No setting ended with finite")


def test_legend_has_a_line_for_each_status_and_loss_that_occurs() -> None:
    lines = report.legend(make())
    assert lines == [
        f"status trained: {STATUSES['trained']}",
        f"loss clipped: {LOSS_LEGENDS['clipped']}",
        f"loss softmax: {LOSS_LEGENDS['softmax']}",
    ]


def test_a_value_is_shown_with_its_axis_unless_it_suffices() -> None:
    text = " ".join(report.sentences(make().rename(loss="schedule")))
    assert "schedule clipped (÷1: 16.0 %, ÷255: 87.0 %); schedule softmax (÷1" in text


def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    """HDF5 would crash the process if it wrote to the file itself."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            results.save(make(), tmp_path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
