"""Tables of the reference that are generated from the code: settings, flags, commands.

`docs/conf.py` writes them into docs/_generated; pages of docs/reference include them.
"""

import ast
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from fmnist_jax.choices import defaults_by_choice
from fmnist_jax.config import PRESETS, SETTINGS, TRACED, Config, Hparams
from fmnist_jax.runner.flag_table import FLAGS

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def write(folder: Path) -> None:
    """Writes every table into a folder."""
    folder.mkdir(exist_ok=True)
    tables = {
        "traced": settings_table(Hparams),
        "static": settings_table(Config),
        "presets": presets_table(),
        "flags": flags_table(),
        "experiments": experiments_table(),
        "sources": sources_table(),
    }
    for name, text in tables.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def settings_table(owner: type[Config] | type[Hparams]) -> str:
    """Returns flag, default, meaning and allowed values of each setting of a class."""
    rows = []
    for field in dataclasses.fields(owner):
        if field.name not in SETTINGS:  # extra, which has no flag
            continue
        setting = SETTINGS[field.name]
        default = repr(field.default)
        if field.default is None and field.name in TRACED:
            default = defaults_by_choice(field.name) or f"{setting.off:g}"
        flag = f" `--{setting.flag}`" if setting.flag else ""
        meaning = f"{setting.help}. Allowed: {setting.value_type.allowed}"
        rows.append((f"`{field.name}`{flag}", default, meaning))
    return table(("setting and flag", "default", "meaning"), rows)


def presets_table() -> str:
    """Returns the settings of each preset that differ from the defaults."""
    rows = []
    for name, preset in PRESETS.items():
        values = [
            f"`{field.name}={value!r}`"
            for part in preset
            for field in dataclasses.fields(part)
            if (value := getattr(part, field.name)) not in (field.default, {})
        ]
        rows.append((f"`{name}`", ", ".join(values)))
    return table(("preset", "settings that differ from the defaults"), rows)


def flags_table() -> str:
    """Returns the flags other than settings, which experiments use them, and help."""
    users = {
        "all": "every experiment",
        "training": "experiments that train",
        "shards": "experiments that train",
        "maps": "`trainability_map`",
    }
    flags = [flag for flag in FLAGS.values() if not flag.setting]
    rows = [(f"`--{flag.name}`", users[flag.used_by], flag.help) for flag in flags]
    return table(("flag", "used by", "meaning"), rows)


def experiments_table() -> str:
    """Returns the question and the command of each experiment, from its docstring."""
    rows = []
    for path in sorted(EXPERIMENTS.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "\nEXPERIMENT = " in text:
            docstring = ast.get_docstring(ast.parse(text)) or ""
            question, _, command, *_ = docstring.split("\n")
            rows.append((f"`{path.stem}`", question, f"`{command.strip()}`"))
    return table(("name", "question", "command"), rows)


def sources_table() -> str:
    """Returns author, year, title and address of each source of published results."""
    path = EXPERIMENTS / "reproduction" / "references.json"
    sources = json.loads(path.read_text(encoding="utf-8"))["sources"]
    rows = [
        (
            f"*{key}*",
            source["author"],
            str(source["year"] or "unknown"),
            source["title"],
            f"<{source['address']}>" if source["address"] else "–",
        )
        for key, source in sources.items()
    ]
    return table(("name", "author", "year", "title", "address"), rows)
