"""Names and phrases that the project avoids, and the limits of its files.

Standard terms take their place: a run batch has slots, a group has a checkpoint, and
a setting has a value type.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("fmnist_jax", "experiments", "benchmarks", "docs", "examples", "tests")
NAMES = re.compile(
    "Seats|seated|places|taken_again|Halfway|halfway|ahead|joining|Kind|kinds|"
    "descriptions|described|Kept|Begun|begun|underway|reads|readers|chooser|named|held|"
    "made|replaced|by_run|twins|plan_here|_fitting|told|said|own|each|todo|found"
)
PHRASES = re.compile(
    r"goes on with|gone on\b|taken again|\bstand-?ins?\b|drawn set|what guessing costs|"
    r"\bpush(es)? nothing|\bputs? out\b|least and greatest|least … greatest|"
    r"\bone's own\b|\bwhich see\b|\bloud\b|(?<!colour-)\bblind\b|\bsay --overwrite|"
    r"\bis had\b|\bto be had\b|\bbe had\b",
    re.IGNORECASE,
)
MAX_LINES, MAX_FUNCTION = 300, 50
TRAINING_LINES, TRAINING_FILE, TRAINING_FUNCTION, TRAINING_ARGUMENTS = 1250, 250, 40, 7
CODE = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PRODUCT = [p for p in CODE if p.is_relative_to(ROOT / "fmnist_jax")]
PRODUCT += [p for p in CODE if p.is_relative_to(ROOT / "experiments")]
TRAINING = [p for p in CODE if p.is_relative_to(ROOT / "fmnist_jax" / "training")]
PAGES = [
    *(path for path in ROOT.iterdir() if path.suffix in (".md", ".toml", ".txt")),
    *(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.md")),
    *(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.jinja")),
    *(ROOT / "experiments").rglob("*.json"),
    ROOT / "Makefile",
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def names_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name, asname=alias):
                yield from (alias or name).split(".")


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_identifiers_are_standard_terms(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    names = {*parts, *names_in(ast.parse(path.read_text(encoding="utf-8")))}
    avoided = sorted(filter(NAMES.fullmatch, names))
    assert avoided == [], "choose other names (CONTRIBUTING.md, Words)"


@pytest.mark.parametrize(
    "path", [p for p in (*CODE, *PAGES) if p.name != "CHANGELOG.md"], ids=name_of
)
def test_prose_is_plain(path: Path) -> None:
    if path == Path(__file__):
        return
    text = " ".join(path.read_text(encoding="utf-8").split())
    assert [text[m.start() - 30 : m.end() + 30] for m in PHRASES.finditer(text)] == []


def functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yields name, number of lines and number of arguments of each function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            arguments = node.args
            count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
            yield node.name, node.end_lineno - node.lineno + 1, count  # type: ignore[operator]


def num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    assert num_lines(path) <= MAX_LINES
    assert [name for name, lines, _ in functions(path) if lines > MAX_FUNCTION] == []


def test_training_is_read_in_ten_minutes() -> None:
    assert sum(map(num_lines, TRAINING)) <= TRAINING_LINES
    assert max(map(num_lines, TRAINING)) <= TRAINING_FILE
    for path in TRAINING:
        for name, lines, arguments in functions(path):
            assert lines <= TRAINING_FUNCTION, name
            assert arguments <= TRAINING_ARGUMENTS, name


def test_experiments_are_short_and_nothing_else() -> None:
    for path in (ROOT / "experiments").glob("*.py"):
        if path.stem in ("__init__", "__main__", "merge", "reproduce"):
            continue
        assert "\nEXPERIMENT = Experiment(" in path.read_text(encoding="utf-8")
        assert num_lines(path) <= 60
