"""The HTML page that shows several experiments side by side.

The page is a single file: figures are embedded, and there are no scripts.
"""

import base64
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fmnist_jax.analysis import report
from fmnist_jax.analysis.results import SETTINGS_FILE, SUMMARY_FILE
from fmnist_jax.config import axis_label
from fmnist_jax.files import atomic_write
from fmnist_jax.runner.output_folder import INDEX
from fmnist_jax.runner.terminal import axis_text

if TYPE_CHECKING:
    import jinja2


def write(folders: Sequence[Path]) -> Path:
    """Writes the page of finished experiments into the parent of their folders.

    Returns the path of the page.
    """
    experiments = [experiment(folder) for folder in folders]
    legend = dict.fromkeys(line for e in experiments for line in e["legend"])
    template = environment().get_template("index.html.jinja")
    path = folders[0].parent / INDEX
    with atomic_write(path) as temporary:
        text = template.render(experiments=experiments, legend=list(legend))
        temporary.write_text(text, encoding="utf-8")
    return path


def environment() -> "jinja2.Environment":
    """Returns the templates of pages, which escape what they are given."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("fmnist_jax.runner"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def experiment(folder: Path, max_table: float = math.inf) -> dict[str, Any]:
    """Returns what the templates show of a finished experiment.

    Tables whose files have more than ``max_table`` bytes are left out.
    """
    metadata = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    tables = [SUMMARY_FILE] * ("axes" in metadata) + metadata["tables"]
    return {
        "name": metadata["experiment"],
        "question": metadata["question"],
        "command": shlex.join(metadata["command"]),
        "datasets": metadata["datasets"],
        "notices": metadata.get("notices") or _notices(metadata["datasets"]),
        "settings": {"Data": _data(metadata["datasets"]), **_settings(metadata)},
        "sentences": metadata["sentences"],
        "legend": metadata.get("legend", []),
        "figures": [_figure(folder / name) for name in metadata["figures"]],
        "tables": [
            _table(folder / name)
            for name in tables
            if (folder / name).stat().st_size <= max_table
        ],
        "left_out": [
            name for name in tables if (folder / name).stat().st_size > max_table
        ],
        "pages": metadata.get("pages", []),
    }


def _notices(datasets: Sequence[Mapping[str, Any]]) -> list[str]:
    return [data["notice"] for data in datasets if data["notice"]]


def _data(datasets: Sequence[Mapping[str, Any]]) -> str:
    texts = []
    for data in datasets:
        held_out = data.get("validation_examples")
        counts = f"{data['train_examples']:,} training"
        counts += f", {held_out:,} validation" if held_out else ""
        counts += f" and {data['test_examples']:,} test examples"
        texts.append(f"{data['title']}, {counts} ({data['source']})")
    return "; ".join(texts)


def _settings(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Returns the swept axes, the fixed settings and those that depend on an axis."""
    if "axes" not in metadata:
        return {}
    axes = [axis_text(name, values) for name, values in metadata["axes"].items()]
    terms = {"Swept": [" × ".join(axes)], "Fixed": []}
    for name, values in metadata["settings"].items():
        distinct = list(dict.fromkeys(np.ravel(np.array(values, object)).tolist()))
        if len(distinct) > 1:
            along = " and ".join(map(axis_label, metadata["along"][name]))
            terms.setdefault(f"Depends on {along}", []).append(axis_label(name))
        elif distinct != [None]:  # None: the setting has no effect
            terms["Fixed"].append(axis_text(name, distinct))
    return {term: ", ".join(texts) for term, texts in terms.items()}


def _figure(path: Path) -> dict[str, str]:
    png = base64.b64encode(path.read_bytes()).decode()
    return {"name": path.name, "title": path.stem, "png": png}


def _table(path: Path) -> dict[str, str]:
    from markupsafe import Markup

    html = report.format_table(pd.read_csv(path)).to_html(
        index=False, border=0, na_rep="–", float_format="{:.6g}".format
    )
    csv = f"data:text/csv;base64,{base64.b64encode(path.read_bytes()).decode()}"
    # pandas escapes the cells
    return {"title": path.stem, "html": Markup(html), "csv": csv}
