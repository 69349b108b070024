"""The published numbers against the tables of the sources, typed a second time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.reproduction import references

REFERENCES = references.load()
NAN = np.nan
ROWS = (
    "scale-book-1 scale-book-255 scale-keras-255 scale-keras-1 scale-keras-1000 "
    "scale-keras-1-logits scale-book-nozerograd lab-mixup batch-32 batch-10000 opt-sgd "
    "opt-adam lr-.1-scaled lr-1e-3-scaled lr-1e-5-scaled lr-.1-unscaled "
    "lr-1e-3-unscaled lr-1e-5-unscaled annealing depth-0 depth-1 depth-2 tiny-input "
    "tiny-input-bn dropout no-dropout no-reg l1 l2 l2-squared"
)
CLAIMS = (
    "less-time needs-time sigmoid softmax-is-sigmoid symmetric batch-updates depth-0 "
    "depth-2 adam-faster dropout-gap dropout-downscale l1-gap anneal bn-rescues "
    "unscaled-low-rate shuffle 255-huge majority"
)
SOURCES = {
    "sources": {"book": {"author": "A", "title": "B", "year": 2020, "address": ""}}
}
NONE_PUBLISHED = {"scale-book-nozerograd", "lab-mixup", "l2", "l2-squared"}


def test_every_row_and_every_claim_is_present() -> None:
    assert list(REFERENCES.rows) == ROWS.split()
    assert list(REFERENCES.claims) == [f"claim-{name}" for name in CLAIMS.split()]
    for claim in REFERENCES.claims.values():
        assert claim.claim.endswith(".")
        assert claim.suggested.endswith((".", "?"))
    without = {name for name, row in REFERENCES.rows.items() if not row.published}
    assert without == NONE_PUBLISHED


@pytest.mark.parametrize("name", ROWS.split())
def test_every_number_has_an_error(name: str) -> None:
    row = REFERENCES.rows[name]
    assert row.config
    assert row.published.keys() == row.reading_error.keys()
    for metric, values in row.published.items():
        errors = row.reading_error[metric]
        assert values.shape == errors.shape == (row.num_epochs,)
        np.testing.assert_array_equal(np.isnan(values), np.isnan(errors))
        numbers = values[~np.isnan(values)]
        assert len(numbers) > 0
        assert np.all(numbers > 0)
        if "accuracy" in metric:
            assert np.all(numbers < 1)
    for low, high in row.parameters.values():
        assert low < high


@pytest.mark.parametrize(
    ("name", "metric", "epochs", "values", "errors"),
    [
        ("scale-book-1", "train_loss", (1, 2), (32.2, 2.36), (0.15, 0.12)),
        ("scale-book-255", "train_loss", (1, 5), (0.841, 0.433), 0.002),
        ("scale-keras-1", "test_loss", (5,), (12.9235,), 0),
        ("scale-keras-1-logits", "test_loss", (5,), (0.5895,), 0.0605),
        ("batch-32", "test_accuracy", (1, 5), (0.813, 0.828), 0.0006),
        ("batch-10000", "train_loss", (1, 5), (4.20, 0.53), 0.04),
        ("batch-10000", "train_accuracy", (1, 5), (0.524, 0.825), 0.003),
        ("opt-sgd", "test_loss", (1, 5, 10), (0.6065, 0.459, 0.423), 0.005),
        ("opt-adam", "test_loss", (3, 9, 10), (0.490, 0.482, 0.454), 0.0005),
        ("lr-.1-unscaled", "train_loss", (1, 2, 5), (144.8, 3, 3), (1.6, 1, 1)),
        ("lr-1e-3-unscaled", "test_loss", (1, 5), (0.766, 0.55), 0.012),
        ("lr-1e-5-unscaled", "test_accuracy", (3, 5), (0.8205, 0.827), 0.0005),
        ("annealing", "test_loss", (3, 17, 30), (0.353, 0.304, 0.305), 0.0005),
        ("depth-0", "test_loss", (1, 5), (0.514, 0.4515), 0.0005),
        ("depth-2", "test_accuracy", (1, 5), (0.844, 0.871), 0.0005),
        (
            "tiny-input",
            "test_accuracy",
            (1, 20, 60, 100),
            (0.577, 0.807, 0.841, 0.85),
            0.0033,
        ),
        ("tiny-input-bn", "train_loss", (1, 2, 100), (0.558, 0.993, 0.350), 0.0005),
        ("dropout", "test_accuracy_with_dropout", (1, 30), (0.832, 0.868), 0.0005),
        ("no-dropout", "test_loss", (1, 30), (0.44, 0.453), (0.005, 0.0005)),
        ("no-reg", "test_loss", (1, 5, 10), (0.426, 0.341, 0.350), 0.0005),
        ("l1", "train_loss_and_penalty", (1, 10, 30), (0.882, 0.4765, 0.441), 0.0005),
    ],
)
def test_numbers_are_as_published(
    name: str, metric: str, epochs: tuple[int, ...], values: Any, errors: Any
) -> None:
    row, positions = REFERENCES.rows[name], np.array(epochs) - 1
    np.testing.assert_array_equal(row.published[metric][positions], values)
    np.testing.assert_array_equal(row.reading_error[metric][positions], errors)


def test_epochs_without_a_number_are_nan() -> None:
    row = REFERENCES.rows["opt-sgd"]
    numbers = np.flatnonzero(~np.isnan(row.published["test_loss"])) + 1
    assert numbers.tolist() == [1, 5, 10]
    assert row.num_epochs == 10


def test_the_learning_rate_falls_after_the_published_epochs() -> None:
    learning_rate = REFERENCES.rows["annealing"].learning_rate
    assert learning_rate is not None
    falls = np.flatnonzero(np.diff(learning_rate)) + 1
    assert falls.tolist() == [2, 8, 11, 14, 15, 16, 17]
    halves = 1e-3 * 0.5 ** np.arange(8)
    expected = np.maximum(halves, 1e-5)
    np.testing.assert_allclose(np.unique(learning_rate)[::-1], expected)
    assert len(learning_rate) == 30


def test_ranges_of_parameters_and_hidden_values() -> None:
    with_ranges = {name for name, row in REFERENCES.rows.items() if row.parameters}
    assert with_ranges == {
        *(
            f"lr-{rate}-{scaled}"
            for rate in (".1", "1e-3", "1e-5")
            for scaled in ("scaled", "unscaled")
        ),
        "tiny-input",
        "tiny-input-bn",
        "dropout",
        "no-dropout",
    }
    assert REFERENCES.rows["lr-.1-scaled"].parameters["w1"] == [-33.9, 23.0]
    assert REFERENCES.rows["lr-1e-5-unscaled"].parameters["b2"] == [0.0056, 0.030]
    assert REFERENCES.rows["tiny-input-bn"].parameters["gamma"] == [0.664, 2.30]
    hidden = REFERENCES.rows["tiny-input"].hidden_values
    assert hidden == {"min": 0, "max": 0.247, "threshold": 0.025, "share_below": 0.75}


def test_the_other_reading_of_dropout_is_with_dropout_off() -> None:
    row = REFERENCES.rows["dropout"]
    other = references.other_reading(row)
    assert other.published.keys() == other.reading_error.keys()
    assert other.published.keys() == {
        "train_loss",
        "test_loss",
        "train_accuracy",
        "test_accuracy",
    }
    assert other.published["test_loss"] is row.published["test_loss_with_dropout"]
    assert references.other_reading(REFERENCES.rows["l1"]) == REFERENCES.rows["l1"]


def test_replicates_share_the_epochs_of_one_configuration() -> None:
    adam, large, sgd = REFERENCES.replicates
    values = references.replicated(REFERENCES, adam, "test_loss")
    assert values.shape == (5, 30)
    np.testing.assert_array_equal(values[:, 0], [0.427, 0.414, 0.426, 0.44, 0.441])
    np.testing.assert_array_equal(values[:, 4], [0.349, 0.372, 0.341, 0.346, NAN])
    assert np.isnan(values[4, 1:]).all()
    losses = references.replicated(REFERENCES, large, "train_loss")
    np.testing.assert_array_equal(losses[:, 0], [0.5385, 0.536])
    assert np.isnan(references.replicated(REFERENCES, sgd, "test_loss")[1]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"published": {"train_loss": [1.0]}}, "1 values for 5 epochs"),
        ({"published": {"train_loss": {"6": 1.0}}}, "epoch 6 of 5"),
        ({"published": {"train_loss": {"0": 1.0}}}, "epoch 0 of 5"),
        ({"published": {"train_loss": {"5": -1.0}}}, r"train_loss is outside 0…inf"),
        ({"published": {"test_loss": {"5": 1.0}}}, "needs its reading error"),
        ({"reading_error": {}}, "needs its reading error"),
        (
            {"reading_error": {"train_loss": {"4": 0.1}}},
            "each value, and no other epoch",
        ),
        (
            {"reading_error": {"train_loss": {"5": -0.1}}},
            "each value, and no other epoch",
        ),
        ({"reading_error": {"train_loss": -0.1}}, "each value, and no other epoch"),
    ],
)
def test_inconsistent_rows_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    row: dict[str, Any] = {
        "sources": ["book"],
        "config": "a network",
        "num_epochs": 5,
        "published": {"train_loss": {"5": 1.0}},
        "reading_error": {"train_loss": 0},
    }
    path = tmp_path / "references.json"
    text = {"rows": {"some-row": row}, "claims": {}, "replicates": [], **SOURCES}
    path.write_text(json.dumps(text))
    references.load(path)
    row.update(change)
    path.write_text(json.dumps(text))
    with pytest.raises(ValueError, match=f"some-row.*{message}"):
        references.load(path)


def test_accuracies_in_percent_and_unnumbers_rows_and_keys_are_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "references.json"
    row: dict[str, Any] = {
        "sources": ["book"],
        "config": "a network",
        "num_epochs": 1,
        "published": {"test_accuracy": [85.0]},
        "reading_error": {"test_accuracy": 0},
    }
    text = {"rows": {"a": row}, "claims": {}, "replicates": [], **SOURCES}
    path.write_text(json.dumps(text))
    with pytest.raises(ValueError, match="a: test_accuracy is outside 0…1"):
        references.load(path)
    row["published"]["test_accuracy"] = [0.85]
    path.write_text(json.dumps(text | {"replicates": [{"b": 1}]}))
    with pytest.raises(ValueError, match="there is no row 'b'"):
        references.load(path)
    path.write_text(json.dumps(text | {"rows": {"a": row | {"epochs": 1}}}))
    with pytest.raises(TypeError, match="epochs"):
        references.load(path)
    for sources in ([], ["book", "film"]):
        path.write_text(json.dumps(text | {"rows": {"a": row | {"sources": sources}}}))
        with pytest.raises(ValueError, match="a: there are no such sources"):
            references.load(path)


def test_every_source_stands_once_and_is_referred_to_or_cited() -> None:
    cited = {key for row in REFERENCES.rows.values() for key in row.sources}
    cited |= {key for claim in REFERENCES.claims.values() for key in claim.sources}
    assert REFERENCES.sources.keys() - cited == {"dropout"}  # claim-dropout-downscale
    titles = [source.title for source in REFERENCES.sources.values()]
    assert len(set(titles)) == len(titles)
    for source in REFERENCES.sources.values():
        assert source.author
        assert source.address == "" or source.address.startswith("https://")


def test_quotations_are_at_most_a_sentence() -> None:
    words = {name: c.words for name, c in REFERENCES.claims.items() if c.words}
    assert words["claim-symmetric"] == "more or less symmetric"
    assert len(words) == 8
    assert all(text.rstrip(".").count(". ") == 0 for text in words.values())
