import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Rectangle, StepPatch

from fmnist_jax.analysis import survey
from fmnist_jax.data import load
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.figures import data_set
from tests.figures.test_curves import texts_of

MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def make(labels: Any, images: Any = None, **kwargs: Any) -> Data:
    """Data with the same labels in both splits, but no image twice."""
    count = len(labels)
    if images is None:
        images = np.arange(2 * count * 4, dtype=np.float32).reshape(-1, 2, 2)
    train, test = np.split(np.asarray(images), 2)
    return Data(Dataset(train, labels), Dataset(test, labels), **kwargs)


def test_counts_and_moments_are_those_of_numpy(small: Data) -> None:
    table = survey.classes(small).set_index("class")
    for split, (_, labels) in (("train", small.train), ("test", small.test)):
        for index, name in enumerate(small.class_names):
            assert table.loc[name, split] == (labels == index).sum()
        assert table[f"{split}_percent"].sum() == pytest.approx(100)
    row = survey.inputs(small).iloc[0]
    assert row["mean"] == pytest.approx(small.train.images.astype(float).mean())
    assert row["std"] == pytest.approx(small.train.images.astype(float).std())
    assert (row["shape"], row["type"], row["min"], row["max"]) == (
        "28x28", "uint8", 0, 255
    )  # fmt: skip
    images = np.random.default_rng(0).normal(3, 2, (5000, 2, 2)).astype(np.float32)
    row = survey.inputs(make(np.arange(2500) % 2, images)).iloc[1]
    assert row["mean"] == pytest.approx(images[2500:].astype(float).mean())
    assert row["std"] == pytest.approx(images[2500:].astype(float).std())


@pytest.mark.parametrize("counts", [[3, 2, 2], [1, 4], [2, 2, 2, 1], [5], [1, 1]])
def test_runs_of_random_orders_against_all_orders(counts: list[int]) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    orders = np.array(list(itertools.permutations(labels)))
    runs = 1 + (orders[:, 1:] != orders[:, :-1]).sum(1)
    mean, deviation = survey.runs_at_random(counts)
    assert mean == pytest.approx(runs.mean())
    assert deviation == pytest.approx(runs.std(), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "runs", "longest", "verdict"),
    [
        (np.repeat(np.arange(10), 20), 10, 20, "no, equal labels are adjacent"),
        (np.tile(np.arange(10), 20), 200, 1, "yes, mixed more evenly than by chance"),
        (np.zeros(9, int), 1, 9, "one class or one example only"),
        (np.random.default_rng(0).integers(0, 10, 200), None, None,
         "yes, consistent with a random order"),
    ],
)  # fmt: skip
def test_orders_are_distinguished(
    labels: Any, runs: int | None, longest: int | None, verdict: str
) -> None:
    data = make(labels, class_names=range(10))
    row = survey.order(data).iloc[0]
    if runs:
        assert (row["runs"], row["longest_run"]) == (runs, longest)
    shuffled = survey.sentences(survey.tables(data))[0]
    assert shuffled.startswith(f"Shuffled? Training set: {verdict}")


def test_copies_within_and_across_splits() -> None:
    images = np.arange(10 * 4, dtype=np.uint8).reshape(10, 2, 2)
    images[2] = images[1] = images[0]  # labels 0, 1 and 0
    images[6] = images[3]  # test 1, label 1; train 3, label 1
    images[7] = images[0]  # test 2, label 0; train 0 and 2, labels 0; 1
    images[8] = images[4]  # test 3, label 1; train 4, label 0
    data = make(np.array([0, 1, 0, 1, 0]), images)
    counts = survey.copies(data)[["copies", "other_label"]].values.tolist()
    assert counts == [[2, 1], [0, 0], [3, 1]]
    split = survey.sentences(survey.tables(data))[1]
    assert "byte for byte: 3 (1 of them with another label)" in split
    assert "copies of another: 2" in split


def test_answers_about_scale_and_balance() -> None:
    images = np.linspace(-1, 1, 80, dtype=np.float32).reshape(20, 2, 2)
    labels = np.array([0] * 6 + [2] * 4)
    names = ("cat", "dog", "emu")
    data = make(labels, images, class_names=names, name="zoo")
    answers = survey.sentences(survey.tables(data))
    assert answers[2].startswith("Scaled? Yes: the training pixels are float32 from -1")
    assert answers[3] == (
        "Balanced? No: from 0.000 % of the training images (dog) to 60.000 % (cat)."
    )
    assert answers[4] == (
        "Predicting the most frequent training class, cat, for every image is right "
        "for 60.00 % of the training and 60.00 % of the test images: a network must do "
        "better."
    )
    figure = data_set.samples(data)  # a class without an image leaves a gap
    assert {"cat", "dog", "emu"} <= set(texts_of(figure).splitlines())
    assert "zoo: 10 training and 10 test images" in texts_of(figure)


def test_a_table_has_rows_and_columns_and_the_deviation_of_each() -> None:
    rows = np.random.default_rng(0).normal(0, [1, 100, 0], (60, 3)).astype(np.float32)
    data = make(np.arange(30) % 2, rows)
    tables = survey.tables(data)
    deviations = data.train.images.astype(float).std(0)
    row = tables["inputs"].iloc[0]
    assert (row["smallest_std"], row["largest_std"]) == pytest.approx(deviations[:2])
    assert "std_per_255" not in row
    answers = survey.sentences(tables)
    assert not [line for line in answers if "image" in line or "pixel" in line]
    assert answers[2].startswith("Scaled? No: the training columns are float32 from ")
    low, high = deviations[:2]
    assert f"with standard deviations from {low:.3g} to {high:.3g}. " in answers[2]
    assert answers[2].endswith("The same in all training rows: 1 of 3 columns.")
    scaled = make(np.arange(30) % 2, rows / [1, 100, 1])
    assert survey.sentences(survey.tables(scaled))[2].startswith("Scaled? Yes: ")
    words = texts_of(data_set.distributions(data))
    assert "Values of all columns" in words
    assert "ixel" not in words


def test_validation_sets_constant_pixels_and_notices_are_reported() -> None:
    images = np.random.default_rng(0).normal(3, 1, (60, 2, 2)).astype(np.float32)
    images[:, 0, 1] = 7.0
    images[1] = images[0]
    data = make(np.arange(30) % 2, images).with_validation(10)
    data = dataclasses.replace(data, validation=data.train, notice="made up")
    tables = survey.tables(data)
    assert tables["inputs"]["split"].tolist() == ["train", "validation", "test"]
    assert tables["inputs"]["constant"].tolist() == [1, 1, 1]
    assert tables["classes"]["validation"].sum() == 20
    copies = tables["copies"].set_index(["of", "among"]).copies
    assert copies["validation", "train"] == 20
    assert copies["test", "train"] == 0
    answers = survey.sentences(tables, survey.notices(data))
    assert answers[1].startswith(
        "Split? Yes: 20 training, 20 validation and 30 test images (42.9 % for testing)"
    )
    assert answers[2].endswith("The same in all training images: 1 of 4 pixels.")
    notes = [line for line in answers if line.startswith("Note: ")]
    assert "20 of 20 validation images are also in the training set" in notes[0]
    assert "divided by 255" in notes[1]
    assert len(notes) == 2  # the note of the data set itself is printed above
    colours = [
        bar.get_label() for bar in data_set.distributions(data).axes[0].containers
    ]
    assert colours == ["training", "validation", "test"]


@pytest.mark.parametrize(("shape", "columns"), [((6,), 6), ((20, 3), 60), ((2, 9), 18)])
def test_tables_and_sequences_are_drawn_as_rows(
    shape: tuple[int, ...], columns: int
) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(60, *shape)) * 10.0 ** rng.integers(-3, 4, shape)
    data = make(np.arange(30) % 3, images.astype(np.float32))
    axes = data_set.samples(data).axes[0]
    rows = np.ma.masked_array(axes.images[0].get_array()).filled(np.nan)
    assert rows.shape == (2 * 14 + 12, columns)
    drawn = rows[~np.isnan(rows).all(1)]  # ten examples of each of three classes
    flat = data.train.images.reshape(30, -1)[
        np.argsort(data.train.labels, kind="stable")
    ]
    expected = (flat - flat.min(0)) / np.ptp(flat, 0)
    np.testing.assert_allclose(drawn, expected, atol=1e-6)


@pytest.mark.parametrize("count", [3, 120])
def test_long_names_are_shortened_and_many_classes_are_numbered(count: int) -> None:
    names = [
        f"a name that is much too long for a figure, of class {i}" for i in range(count)
    ]
    data = make(np.arange(2 * count) % count, class_names=names)
    by_class = data_set.distributions(data).axes[0]
    assert len(by_class.containers[0]) == count
    labels = [label.get_text() for label in by_class.get_yticklabels()]
    if count == 3:
        assert labels == [f"a name that is …ure, of class {i}" for i in range(3)]
    else:
        assert by_class.get_ylabel() == "number of the class"
    assert "a name that is …ure, of class 2" in texts_of(data_set.samples(data))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
def test_sample_sheets_show_the_images(channels: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 4, 5, *channels), np.uint8)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    data = make(np.arange(30), images)
    sheet = np.asarray(data_set.samples(data).axes[0].images[0].get_array())
    gap = data_set.GAP
    shown = sheet[2 * (4 + gap) :][:4, :5]  # the third row: the one image of class 2
    expected = images[2].reshape(4, 5, -1) / 255
    np.testing.assert_allclose(shown, expected if channels == (3,) else
                               np.repeat(expected[..., :1], 3, -1))  # fmt: skip
    figure = data_set.samples(data)
    assert "the first 20 of 30" in texts_of(figure)
    assert "custom" in texts_of(data_set.distributions(data))


def test_bars_and_steps_are_the_shares(small: Data) -> None:
    by_class, by_pixel = data_set.distributions(small).axes
    bars = [bar for bar in by_class.patches[:10] if isinstance(bar, Rectangle)]
    widths = [bar.get_width() for bar in bars]
    assert widths == survey.classes(small)["train_percent"].tolist()
    (steps, _) = (p.get_data()[0] for p in by_pixel.patches if isinstance(p, StepPatch))
    dark = 100 * (small.train.images < 8).mean()
    assert steps[0] == pytest.approx(dark)
    assert sum(steps) == pytest.approx(100)


@pytest.mark.slow
def test_published_figures_of_both_sets(real_dir: Path) -> None:
    tables = survey.tables(load("fashion_mnist", real_dir))
    assert tables["classes"]["train"].tolist() == [6000] * 10
    assert tables["classes"]["test"].tolist() == [1000] * 10
    row = tables["inputs"].iloc[0]
    assert (row["mean"], row["std"]) == pytest.approx((72.9404, 90.0212), abs=5e-5)
    assert survey.sentences(tables)[3] == (
        "Balanced? Yes: 6,000 training images of each of 10 classes."
    )
    assert tables["copies"]["copies"].tolist() == [0, 0, 0]
    tables = survey.tables(load("mnist", real_dir))
    assert tables["classes"]["train"].tolist() == MNIST_COUNTS
    assert survey.sentences(tables)[3] == (
        "Balanced? Nearly: from 9.035 % of the training images (5) to 11.237 % (1)."
    )
