"""The examples run, are short, and are printed in the docs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def _run(path: Path) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(path)]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=env
    ).stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short_and_printed_in_the_docs(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 25
    pages = (ROOT / "docs" / "how_to").glob("own_*.md")
    assert any(path.read_text() in page.read_text() for page in pages)


SIZE = "train_examples=2000).with_validation(400)"
SMALL = "train_examples=250, test_examples=100).with_validation(50)"
CHECKS = """
assert len(states) == 9 and (results.confidence > 0.1).all(), results
assert sorted(map(str, __import__("pathlib").Path().iterdir())) == ["runs", "trained"]
"""


@pytest.mark.slow
def test_the_page_of_sweeps_runs_from_top_to_bottom(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how_to" / "sweep.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 11
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    assert SIZE in blocks[0]
    script = "\n".join([*blocks, CHECKS]).replace(SIZE, SMALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_own_network_trains_on_scaled_inputs() -> None:
    rows = _run(ROOT / "examples" / "own_network.py").splitlines()[-2:]
    (_, *unscaled), (_, *scaled) = (map(float, row.split()) for row in rows)
    assert max(unscaled) < 0.75 < 0.9 < scaled[1]


@pytest.mark.slow
def test_own_loop_lowers_the_loss() -> None:
    lines = _run(ROOT / "examples" / "own_loop.py").splitlines()
    rows = [re.findall(r"[0-9.]+(?:e-\d+)?", line) for line in lines]
    losses = [float(row[-1]) for row in rows]
    assert losses[0] < 2
    assert losses[-1] < 0.8 * losses[0]
    # Half a cosine over three epochs.
    assert [row[1] for row in rows] == ["1.0e-03", "7.5e-04", "2.5e-04"]


@pytest.mark.slow
def test_own_functions_label_their_setting() -> None:
    rows = _run(ROOT / "examples" / "own_functions.py").splitlines()
    assert rows[0].split() == ["learning_rate", "0.001", "0.010"]
    assert rows[1].split() == ["clip_norm"]
    (_, *tight), (_, *loose) = (map(float, row.split()) for row in rows[2:])
    assert min(*tight, *loose) > 0.3  # chance is 0.1
