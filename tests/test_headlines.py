"""The headline numbers of README and docs are those of the kept results."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fmnist_jax.analysis.results import load

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
CITE = DOCS / "how_to" / "teach_and_cite.md"
CLIPPED = DOCS / "explanation" / "clipped_loss.md"
STABILITY = DOCS / "explanation" / "stability.md"
WHY = DOCS / "explanation" / "why_scaling.md"


def prose(path: Path) -> str:
    return " ".join(path.read_text(encoding="utf-8").split())


def at_epoch_5(name: str, metric: str) -> np.ndarray:
    runs = load(DOCS / "reproduction" / f"{name}.seeds0-9.nc")
    values = np.asarray(runs[metric].sel(epoch=5).values, float).ravel()
    assert len(values) == 10
    return values


def percent(name: str, metric: str) -> str:
    return f"{100 * at_epoch_5(name, metric).mean():.1f} %"


def interval(name: str, metric: str, unit: str = "") -> str:
    values = 100 * at_epoch_5(name, metric)
    half = stats.t.ppf(0.975, 9) * values.std(ddof=1) / np.sqrt(10)
    low, high = values.mean() - half, values.mean() + half
    return f"{values.mean():.1f} % ({unit}{low:.1f} to {high:.1f})"


def test_13_to_85_is_training_accuracy_with_the_tests() -> None:
    readme, page = prose(README), prose(CITE)
    before = interval("book-1", "train_accuracy", "95 % interval ")
    after = interval("book-255", "train_accuracy")
    assert "÷255 takes training accuracy from 13 % to 85 %" in readme
    assert f"from {before} to {after}" in readme
    tests = [percent(name, "test_accuracy") for name in ("book-1", "book-255")]
    assert "test accuracy from {} to {}".format(*tests) in readme
    for metric, label in (("train", "training"), ("test", "test")):
        cells = [interval(f"book-{d}", f"{metric}_accuracy") for d in (1, 255)]
        assert f"| {label} accuracy | {cells[0]} | {cells[1]} |" in page
    slow = interval("book-1-rate-0.0001", "test_accuracy")
    assert f"unscaled pixels reach a test accuracy of {slow}" in page
    assert f"unscaled pixels reach {slow.partition('(')[0]}of the test set" in readme


def test_the_clipped_loss() -> None:
    clipped, logits = (percent(f"keras-1{x}", "test_accuracy") for x in ("", "-logits"))
    assert f"{clipped} test accuracy, {logits} from logits" in prose(README)
    page = prose(CLIPPED)
    for name, label in (
        ("keras-1", "÷1 | clipped"),
        ("keras-1-logits", "÷1 | from logits"),
        ("keras-255", "÷255 | clipped"),
        ("keras-1000", "÷1000 | clipped"),
    ):
        accuracy, loss = (at_epoch_5(name, f"test_{m}") for m in ("accuracy", "loss"))
        cells = (
            f"{100 * accuracy.mean():.1f} ± {100 * accuracy.std(ddof=1):.1f} %",
            f"{loss.mean():.3f} ± {loss.std(ddof=1):.3f}",
        )
        assert f"| {label} | {cells[0]} | {cells[1]} |" in page
    change = at_epoch_5("keras-1000", "train_loss") - at_epoch_5(
        "keras-255", "train_loss"
    )
    assert f"higher by {change.min():.3f} to {change.max():.3f}" in page


@pytest.mark.parametrize("path", [README, STABILITY, WHY])
def test_ratios_to_the_stability_limit(path: Path) -> None:
    runs = load(DOCS / "trainability_map" / "results.nc")
    sgd = runs.sel(optimizer="sgd", loss="softmax")
    trainable = (sgd.status == "trained").sum("seed") >= 2
    largest = sgd.learning_rate.where(trainable).max("learning_rate")
    ratio = largest / np.exp(np.log(sgd.stable_rate).mean("seed"))
    low, high = float(ratio.min()), float(ratio.max())
    text = prose(path)
    if path == STABILITY:
        median = float(ratio.median())
        assert f"| {low:.2f} | ÷8,185 | {high:.0f} | ÷30 | {median:.1f} |" in text
    else:
        assert f"{low:.2f} to {high:.0f} times 2/λ" in text


def test_normalizations_have_one_number_everywhere() -> None:
    table = pd.read_csv(DOCS / "explanation" / "normalizations.csv", dtype=str)
    rows = table[table.optimizer == "sgd"].set_index("input")
    best = rows["test accuracy at the best, %"].str.partition(" ")[0]
    page = prose(WHY)
    assert f"unscaled pixels reach {best['raw pixels']} %" in page
    assert f"÷255 reaches {best['÷255']} %" in page
    for name, label in (
        ("raw pixels", "raw pixels"),
        ("÷255", "÷255"),
        ("standard", "one mean and standard deviation"),
        ("per_feature", "mean and standard deviation of each pixel"),
        ("raw pixels, batch norm", "raw pixels, batch norm"),
    ):
        (row,) = re.findall(rf"\| {re.escape(label)} \| [^|]+ \| ([^|]+) \|", page)
        assert row == f"{best[name]} %"


def test_reproduced_experiments() -> None:
    text = prose(DOCS / "reproduction.md")
    verdicts = re.findall(r"\| \*\*(agrees|differs)\*\* \|", text)
    agreeing = f"{verdicts.count('agrees')} of {len(verdicts)}"
    assert f"{agreeing} rows agree" in text
    assert f"{agreeing} published experiments reproduced" in prose(README)
