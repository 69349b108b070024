"""report.html, as text: escaped, complete, and without requests."""

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from experiments.scale_sweep import EXPERIMENT as SCALE_SWEEP
from fmnist_jax.analysis import results
from fmnist_jax.config import PRESETS
from fmnist_jax.runner import report_page
from fmnist_jax.runner.experiment import Experiment
from fmnist_jax.runner.jobs import make_job
from fmnist_jax.sweeps.coordinates import coordinates
from fmnist_jax.sweeps.planning import plan
from tests.command_lines import options
from tests.figures.test_interactive import EVIL, grid, map_of_two

ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"
CURVES = Experiment("x", "Q?", {"divisor": (1.0, 255.0)}, curves_by="divisor")
MAP = Experiment(EVIL, "Q?", {}, plane=("divisor", "learning_rate"))


def write(
    folder: Path,
    experiment: Experiment,
    name: str = "synthetic",
    dataset: xr.Dataset | None = None,
) -> Path:
    """Writes the page of made-up results; returns its path."""
    if dataset is None:
        dataset = grid() if experiment.plane is None else map_of_two()
    dataset.attrs |= {"dataset": name, "dataset_title": EVIL, "test_examples": 10}
    data = {"title": EVIL, "name": name, "source": EVIL, "notice": EVIL}
    metadata = {
        "experiment": EVIL,
        "question": EVIL,
        "command": ["python", EVIL],
        "datasets": [{**data, "train_examples": 100, "test_examples": 10}],
        "axes": {"loss": ["softmax", EVIL]},
        "settings": {"order": EVIL},
        "along": {"order": []},
        "tables": [],
        "figures": [],
        "sentences": [EVIL, "second"],
        "legend": [EVIL],
    }
    results.save(dataset, folder, metadata)
    (path,) = report_page.write(folder, experiment, dataset)
    return path


@pytest.mark.parametrize("experiment", [CURVES, MAP])
def test_the_page_escapes_what_it_is_given(
    tmp_path: Path, experiment: Experiment
) -> None:
    text = write(tmp_path, experiment).read_text(encoding="utf-8")
    assert EVIL not in text
    assert text.count(ESCAPED) > 8
    for name in ("document", "data"):
        (block,) = re.findall(rf'id="{name}">(.*?)</script>', text)
        assert json.loads(block)


@pytest.mark.parametrize("experiment", [CURVES, MAP])
def test_the_page_requests_nothing(tmp_path: Path, experiment: Experiment) -> None:
    text = write(tmp_path, experiment).read_text(encoding="utf-8")
    page = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="(?!data:|#)', page) == []
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "url(" not in page


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [CURVES, MAP])
def test_the_same_results_give_the_same_bytes(
    tmp_path: Path, experiment: Experiment
) -> None:
    assert (
        write(tmp_path, experiment).read_bytes()
        == write(tmp_path, experiment).read_bytes()
    )


def test_synthetic_data_has_a_banner_and_other_data_none(tmp_path: Path) -> None:
    assert 'class="banner"' in write(tmp_path, CURVES).read_text(encoding="utf-8")
    text = write(tmp_path, CURVES, "mnist").read_text(encoding="utf-8")
    assert 'class="banner"' not in text


def test_the_table_is_on_the_page_and_downloads(tmp_path: Path) -> None:
    import base64

    text = write(tmp_path, CURVES).read_text(encoding="utf-8")
    (encoded,) = re.findall(
        r'download="summary.csv" href="data:text/csv;base64,(.*?)"', text
    )
    assert base64.b64decode(encoded) == (tmp_path / "summary.csv").read_bytes()
    assert text.count("<tr") == 5  # the head, and four settings


def test_tables_that_are_too_large_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_page, "MAX_TABLE", 10)
    text = write(tmp_path, CURVES).read_text(encoding="utf-8")
    assert "<tr" not in text
    assert "too large for this page" in text


def test_the_command_of_a_point_has_the_settings_of_the_map(tmp_path: Path) -> None:
    """The command, read by the command line, makes the configuration of the map."""
    config, hparams = PRESETS["keras"]
    changes: Any = {"hidden_sizes": (64, 8), "optimizer": "nesterov", "batch_size": 16}
    config = dataclasses.replace(config, **changes, loss="softmax", num_epochs=3)
    hparams = dataclasses.replace(hparams, eps=None, momentum=0.5, offset=3.25)
    planned = plan({"divisor": [1.0, 10.0, 100.0]}, config, hparams)
    scalars = {n: c for n, c in coordinates(planned, 3).items() if not c.ndim}
    del scalars["learning_rate"]  # an axis of the map
    dataset = map_of_two().isel(loss=0, drop=True).assign_coords(scalars)
    dataset.attrs |= {"train_examples": 80, "validation_examples": 16}
    text = write(tmp_path, MAP, dataset=dataset).read_text(encoding="utf-8")
    (data,) = re.findall(r'id="data">(.*?)</script>', text)
    command = json.loads(data)["command"].replace("{x}", "10").replace("{y}", "0.25")
    _, _, module, *argv = shlex.split(command)
    assert module == "experiments.scale_sweep"
    given = options(*argv)
    assert (given["train_examples"], given["validation_examples"]) == (96, 16)
    job = make_job(SCALE_SWEEP, given)
    assert dataclasses.replace(job.config, loss="softmax") == config
    expected = dataclasses.replace(hparams, divisor=10.0, learning_rate=0.25)
    assert job.hparams == dataclasses.replace(expected, divisor=None)
    assert [*job.axes["divisor"]] == [10.0]
    assert [*job.axes["loss"]] == ["softmax"]
