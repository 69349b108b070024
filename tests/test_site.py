"""The pages of the site: it builds, is complete and short, and its code runs."""

import doctest
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for path in DOCS.rglob("*.md")
    if not {"_build", "_generated", "jupyter_execute"} & set(path.parts)
)
MAX_WORDS = {  # 15 minutes, unless the page is a list of results
    "README.md": 600,
    "docs/explanation/why_scaling.md": 1500,
    "docs/appendices/performance.md": 800,
    "docs/appendices/reliability.md": 600,
    "docs/reproduction_rows.md": 9000,
}
CODE = ("how_to/scale_my_data.md", "how_to/notebook.md")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=name_of)
def test_pages_are_short(path: Path) -> None:
    words = len(path.read_text(encoding="utf-8").split())
    assert words <= MAX_WORDS.get(name_of(path), 3000)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_pages_say_for_whom_they_answer_which_question(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    first = re.search(r"^# .+\n\n(\*For [^*]+\?\*)", text, re.M)
    assert first is not None, "after the heading: *For whom: which question?*"


def test_every_public_name_is_documented() -> None:
    stub = (ROOT / "fmnist_jax" / "__init__.pyi").read_text(encoding="utf-8")
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    public = re.findall(r"^from .* as (\w+)$", stub, re.M)
    assert sorted(re.findall(r"^\.\. auto\w+:: (\w+)$", page, re.M)) == sorted(public)


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")), ids=name_of)
def test_links_of_the_pages_outside_the_site(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if target.startswith(("http:", "https:")):
            continue
        page = ROOT / target if target else path
        assert page.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
            slugs = {
                re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings
            }
            assert anchor in slugs, link


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_doctests(path: Path) -> None:
    blocks = re.findall(r"```python\n(>>> .*?)```", path.read_text("utf-8"), re.S)
    for number, block in enumerate(blocks):
        test = doctest.DocTestParser().get_doctest(
            block, {}, f"{path}", f"{path}", number
        )
        result = doctest.DocTestRunner().run(test)
        assert (result.failed, result.attempted > 0) == (0, True)


@pytest.mark.slow
@pytest.mark.parametrize("name", CODE)
def test_the_code_of_a_page_runs_from_top_to_bottom(name: str, tmp_path: Path) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert blocks
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    command = [sys.executable, "-W", "error", "-c", "\n".join(blocks)]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    missing = [n for n in ("sphinx", "myst_nb") if not importlib.util.find_spec(n)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (requirements-docs.txt)")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going"]
    options = ("--quiet", "--doctree-dir", str(tmp_path / "doctrees"))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *options, str(DOCS), str(tmp_path / "html")],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "html" / "tutorials" / "why_255.html").read_text("utf-8")
    assert "best learning rate" in html
    assert 'data-default-mode="auto"' in html  # or the theme logs an error
    assert html.count("search-button-field") == 1
    page = tmp_path / "html" / "explanation" / "normalizations.html"
    assert 'from <span class="number">1e-7</span> to 10' in page.read_text("utf-8")
    assert "<table" in (tmp_path / "html/reference/settings.html").read_text("utf-8")
