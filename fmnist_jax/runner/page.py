"""A page that shows several experiments side by side, made from their folders.

It needs nothing but itself: figures stand in it as data, and there is no script.
"""

import base64
import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from fmnist_jax.analysis import report
from fmnist_jax.analysis.results import SETTINGS_FILE, SUMMARY_FILE
from fmnist_jax.config import axis_label, show
from fmnist_jax.files import atomic_write
from fmnist_jax.runner.output_folder import INDEX

PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>fmnist_jax: $names</title>
<style>
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --quiet: #5c5c5c;
  --line: #d5d5d5; --box: #f4f4f2; --link: #0060a0 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #161616;
  --quiet: #a5a5a5; --line: #414141; --box: #242424; --link: #7fbdf0 } }
body { margin: 0 auto; padding: 1rem; max-width: 100rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif }
main { display: grid; gap: 1.5rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 36rem), 1fr)) }
article { min-width: 0; border: 1px solid var(--line); border-radius: .5rem;
  padding: 0 1rem 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.25rem } a { color: var(--link) }
code { display: block; padding: .5rem; background: var(--box); border-radius: .3rem;
  overflow-wrap: anywhere }
dt { color: var(--quiet) } dd { margin: 0 0 .5rem }
img { display: block; width: 100%; margin: 1rem 0; background: #fff }
.table { overflow: auto; max-height: 30rem }
table { border-collapse: collapse; font-size: .85rem; white-space: nowrap }
th, td { padding: .2rem .7rem .2rem 0; text-align: right; border: 0;
  border-bottom: 1px solid var(--line) }
.note { border-left: .3rem solid #d55e00; padding-left: .7rem }
</style>
<h1>Experiments</h1>
<ul>
$contents
</ul>
<main>
$articles
</main>
$legend
</html>
""")


def write(folders: Sequence[Path]) -> Path:
    """Writes the page of some experiments' folders beside them; returns its path."""
    path = folders[0].parent / INDEX
    with atomic_write(path) as new:
        new.write_text(page(folders), encoding="utf-8")
    return path


def page(folders: Sequence[Path]) -> str:
    """Returns the page of some experiments' folders."""
    facts = [
        json.loads((f / SETTINGS_FILE).read_text(encoding="utf-8")) for f in folders
    ]
    names = [each["experiment"] for each in facts]
    lines = dict.fromkeys(line for each in facts for line in each.get("legend", []))
    legend = f"<h2>What the words mean</h2>\n{_list(lines)}" if lines else ""
    links = [
        f'<li><a href="#{quote(n)}">{escape(each["question"])}</a> '
        f"({escape(', '.join(data['title'] for data in each['datasets']))})</li>"
        for n, each in zip(names, facts, strict=True)
    ]
    return PAGE.substitute(
        names=escape(", ".join(names)),
        contents="\n".join(links),
        articles="\n".join(map(_article, folders, facts)),
        legend=legend,
    )


def _article(folder: Path, facts: Mapping[str, Any]) -> str:
    name, datasets = facts["experiment"], facts["datasets"]
    notices = [data["notice"] for data in datasets if data["notice"]]
    tables = [SUMMARY_FILE] * ("axes" in facts) + facts["tables"]
    terms = {"Data": "; ".join(map(_data, datasets)), **_settings(facts)}
    return "\n".join(
        [
            f'<article id="{quote(name)}">',
            f"<h2>{escape(facts['question'])}</h2>",
            f"<code>{escape(shlex.join(facts['command']))}</code>",
            *(f'<p class="note">{escape(notice)}</p>' for notice in notices),
            "<dl>",
            *(f"<dt>{t}</dt><dd>{escape(text)}</dd>" for t, text in terms.items()),
            "</dl>",
            _list(facts["sentences"]),
            *(_figure(folder / figure, name) for figure in facts["figures"]),
            *(_table(folder / table) for table in tables),
            "</article>",
        ]
    )


def _data(facts: Mapping[str, Any]) -> str:
    train, test = facts["train_examples"], facts["test_examples"]
    images = f"{train:,} training and {test:,} test images"
    return f"{facts['title']}, {images} ({facts['source']})"


def _settings(facts: Mapping[str, Any]) -> dict[str, str]:
    """Returns what runs were swept over, what was fixed and what was not, in words."""
    if "axes" not in facts:
        return {}
    swept = [f"{axis_label(a)} {_values(a, v)}" for a, v in facts["axes"].items()]
    terms = {"Swept": [" × ".join(swept)], "Fixed": []}
    for name, values in facts["settings"].items():
        found = dict.fromkeys(np.ravel(np.array(values, dtype=object)).tolist())
        if len(found) > 1:
            along = " and ".join(map(axis_label, facts["along"][name]))
            terms.setdefault(f"By {along}", []).append(axis_label(name))
        elif found != {None: None}:  # which is: of no effect
            terms["Fixed"].append(f"{axis_label(name)} {_values(name, [*found])}")
    return {term: ", ".join(texts) for term, texts in terms.items()}


def _values(name: str, values: Sequence[Any]) -> str:
    """Returns values in words; None stands for infinity, which JSON does not know."""
    texts = [
        str(v) if isinstance(v, bool) else show(name, math.inf if v is None else v)
        for v in values
    ]
    is_short = len(texts) <= 6 or isinstance(values[0], str)
    return ", ".join(texts if is_short else [*texts[:3], "…", texts[-1]])


def _list(lines: Iterable[str]) -> str:
    return "\n".join(["<ul>", *(f"<li>{escape(line)}" for line in lines), "</ul>"])


def _figure(path: Path, name: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<a href="{quote(name)}/{quote(path.name)}"><img loading="lazy" '
        f'alt="{escape(path.stem)} of {escape(name)}" '
        f'src="data:image/png;base64,{data}"></a>'
    )


def _table(path: Path) -> str:
    html = report.in_words(pd.read_csv(path)).to_html(
        index=False, border=0, na_rep="–", float_format="{:.6g}".format
    )
    return f'<h3>{escape(path.stem)}</h3>\n<div class="table">{html}</div>'
