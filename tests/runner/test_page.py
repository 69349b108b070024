"""The HTML page of several experiments, parsed as a browser does."""

import base64
import json
import os
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

from experiments.__main__ import find_experiments
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line, output_folder, page

ROOT = Path(__file__).parents[2]
NAMES = ("data_checks", "sigmoid_saturation")
FLAGS = (
    *("--dataset=synthetic", "--train_examples=96", "--test_examples=50"),
    *("--divisors=1,255", "--losses=clipped", "--num_seeds=2", "--epochs=1"),
)
PNG = "data:image/png;base64,"
VOID = {"meta", "img", "br"}  # elements without an end tag


class Reader(HTMLParser):
    """Collects tags with their attributes, texts, and open elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default output folder of two experiments."""
    cwd = tmp_path_factory.mktemp("cwd")
    process = subprocess.run(
        [sys.executable, "-m", "experiments", f"--only={','.join(NAMES)}", *FLAGS],
        capture_output=True, text=True, cwd=cwd, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    (folder,) = (cwd / "runs").iterdir()
    assert f"Page: {folder.relative_to(cwd) / 'index.html'}" in process.stdout
    return folder


@pytest.mark.slow
def test_a_selection_has_a_folder_per_experiment_and_a_page(root: Path) -> None:
    assert {path.name for path in root.iterdir()} == {*NAMES, "index.html"}
    assert root.name[:2] == "20"
    for name in NAMES:
        facts = json.loads((root / name / "config.json").read_text())
        assert facts["command"][2] == f"experiments.{name}"
        trains = name != "data_checks"  # it has no training settings
        assert ("--divisors=1,255" in facts["command"]) == trains
        for file in (*facts["tables"], *facts["figures"]):
            assert (root / name / file).is_file()


@pytest.mark.slow
def test_the_page_embeds_the_figures_and_loads_nothing(root: Path) -> None:
    text = (root / "index.html").read_text()
    reader = Reader(text)
    assert reader.open == []
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed"}
    for _, attributes in reader.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "action"):
            value = attributes.get(name) or ""
            assert "//" not in value.split(",")[0], value
    assert "url(" not in text
    assert "@import" not in text
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text
    images = [
        base64.b64decode((attributes["src"] or "").removeprefix(PNG))
        for tag, attributes in reader.tags
        if tag == "img"
    ]
    figures = []
    for name in NAMES:
        facts = json.loads((root / name / "config.json").read_text())
        figures += [root / name / figure for figure in facts["figures"]]
    assert images == [path.read_bytes() for path in figures]
    links = [unquote(a["href"] or "") for tag, a in reader.tags if tag == "a"]
    files = [root / link for link in links if link[0] != "#"]
    assert [path for path in files if path.suffix == ".png"] == figures
    pages = [root / name / "report.html" for name in NAMES]
    assert [path for path in files if path.suffix != ".png"] == pages
    assert all(path.exists() for path in pages)
    ids = {a["id"] for tag, a in reader.tags if tag == "article"}
    assert {link[1:] for link in links if link[0] == "#"} == ids == set(NAMES)


@pytest.mark.slow
def test_the_page_shows_questions_settings_and_results(root: Path) -> None:
    page_text = "\n".join(Reader((root / "index.html").read_text()).texts)
    for name in NAMES:
        facts = json.loads((root / name / "config.json").read_text())
        assert facts["question"] in page_text
        assert f"python -m experiments.{name} --dataset=synthetic" in page_text
        assert all(sentence in page_text for sentence in facts["sentences"])
        assert all(line in page_text for line in facts.get("legend", []))
        assert all(Path(table).stem in page_text for table in facts["tables"])
    summary = pd.read_csv(root / "sigmoid_saturation" / "summary.csv")
    for mean, std in zip(
        summary["test_accuracy_mean"], summary["test_accuracy_std"], strict=True
    ):
        assert f"{100 * mean:.2f} ± {100 * std:.2f}" in page_text
    for text in ("synthetic data, not Fashion-MNIST, 96 training and 50 test",
                 "pixel divisor ÷1, ÷255 × loss clipped × seed 0, 1",
                 "hidden layers 128, initialiser keras", "epochs 1"):  # fmt: skip
        assert text in page_text


def test_fixed_settings_have_one_value_in_all_runs() -> None:
    """None stands for a setting without effect, and in an axis for infinity."""
    facts = {
        "axes": {
            "optimizer": ["sgd", "adam", "lion"], "target_accuracy": [0.9, None],
            "loss": list("abcdefg"), "seed": [*range(7)],
        },
        "settings": {
            "divisor": 255.0, "batch_size": 32, "evaluate_train": True,
            "hidden_sizes": "128x64", "l1": None, "momentum": [None, None, None],
            "b1": [None, 0.9, 0.9], "b2": [None, 0.999, 0.99], "eps": [1e-7] * 3,
            "l2": [[None, 0.1], [None, 0.1], [None, 0.1]],
        },
        "along": {
            **{name: ["optimizer"] for name in ("momentum", "b1", "b2", "eps")},
            "l2": ["optimizer", "regularizer"],
        },
    }  # fmt: skip
    assert page._settings(facts) == {
        "Swept": "optimizer sgd, adam, lion × target accuracy 0.9, never × "
        "loss a, b, c, d, e, f, g × seed 0, 1, 2, …, 6",
        "Fixed": "pixel divisor ÷255, batch size 32, evaluate on the training set "
        "True, hidden layers 128x64, epsilon 1e-07",
        "Depends on optimizer": "b1, b2",
        "Depends on optimizer and regularizer": "L2 penalty (norm)",
    }


@pytest.mark.slow
def test_settings_that_depend_on_an_axis_are_not_fixed(tmp_path: Path) -> None:
    command_line.execute(
        [find_experiments()["optimizer_sweep"]],
        ["x", "--dataset=synthetic", "--train_examples=32", "--test_examples=10",
         "--epochs=1", "--num_seeds=1", "--hidden_sizes=4", "--learning_rates=0.01",
         "--optimizers=sgd,momentum,adam", f"--out_dir={tmp_path}"],
    )  # fmt: skip
    terms = page._settings(json.loads((tmp_path / "config.json").read_text()))
    assert terms.keys() == {"Swept", "Fixed", "Depends on optimizer"}
    assert terms["Depends on optimizer"] == "momentum, b1, b2, epsilon"
    assert "None" not in str(terms)
    assert "loss softmax" in terms["Fixed"]


def test_labels_and_paths_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'&"
    facts = {
        "experiment": evil.replace("/", ""),
        "question": f"Why {evil}?",
        "command": ["python", evil],
        "datasets": [{
            "title": evil, "source": evil, "notice": f"note {evil}",
            "train_examples": 1, "test_examples": 1,
        }],
        "axes": {"model": [evil], evil: [1]}, "along": {"loss": [evil]},
        "settings": {"optimizer": evil, "loss": [evil, "b"]},
        "legend": [f"loss {evil}"], "sentences": [f"It is {evil}."],
        "tables": ["<i>.csv"], "figures": ["<b>.png"],
    }  # fmt: skip
    folder = tmp_path / "<u>"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(facts))
    (folder / "<b>.png").write_bytes(b"figure")
    for name in ("<i>.csv", "summary.csv"):
        pd.DataFrame({evil: [evil]}).to_csv(folder / name, index=False)
    reader = Reader(page.write([folder]).read_text())
    assert reader.open == []
    assert not {"script", "i", "b", "u"} & {tag for tag, _ in reader.tags}
    text = "\n".join(reader.texts)
    assert text.count(evil) >= 16
    assert f"note {evil}" in text
    assert f"python {shlex.quote(evil)}" in text
    (image,) = (attributes for tag, attributes in reader.tags if tag == "img")
    assert image["alt"] == f"<b> of {facts['experiment']}"


@pytest.mark.slow
def test_a_folder_with_a_page_or_results_is_refused(root: Path) -> None:
    options = {"out_dir": str(root), "overwrite": False, "extend": False}
    message = r"already contains results: open .*index\.html"
    with pytest.raises(UserError, match=message):
        output_folder.choose_folder(["x"], options)
    results = {**options, "out_dir": str(root / "sigmoid_saturation")}
    with pytest.raises(UserError, match="open_dataset"):
        output_folder.choose_folder(["x"], results)
    assert output_folder.choose_folder(["x"], {**options, "overwrite": True}) == root
    folder = output_folder.choose_folder(["x", "y"], options)  # others may be added
    folders = output_folder.experiment_folders(folder, ["x", "y"])
    assert folders == [root / "x", root / "y"]
    options["out_dir"] = str(root / "new")
    folder = output_folder.choose_folder(["x"], options)
    assert output_folder.experiment_folders(folder, ["x"]) == [root / "new"]
