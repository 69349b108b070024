"""Settings of Sphinx: `make docs` builds the site from this folder."""

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from docs import generated  # noqa: E402
from fmnist_jax import __version__  # noqa: E402

project = "fmnist_jax"
author = "The fmnist_jax authors"
release = __version__
html_title = f"fmnist_jax {release}"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_generated", "jupyter_execute"]
myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_output_stderr = "remove"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_use_rtype = False

html_theme = "sphinx_book_theme"
html_theme_options = {
    "show_navbar_depth": 1,
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the sidebar has the search
}
html_context = {"default_mode": "auto"}  # light or dark; the theme needs a value
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Writes the pages that are generated from the code, before Sphinx reads them."""
    generated.write(Path(__file__).parent / "_generated")
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("doctree-resolved", keep_numbers_whole)


def keep_numbers_whole(_app: Sphinx, page: nodes.document, _name: str) -> None:
    """Forbids line breaks within numbers such as 1e-3, which narrow columns had."""
    for text in list(page.findall(nodes.Text)):
        is_code = isinstance(text.parent, nodes.literal | nodes.literal_block)
        parts = [] if is_code else re.split(r"(\de-\d+)", text)
        if len(parts) > 1:
            pieces: list[nodes.Node] = [
                nodes.inline("", part, classes=["number"])
                if number % 2
                else nodes.Text(part)
                for number, part in enumerate(parts)
            ]
            text.parent.replace(text, pieces)


def escape_bars(*arguments: object) -> None:
    """Escapes |, which marks substitutions in reStructuredText, in a docstring."""
    lines = arguments[-1]
    assert isinstance(lines, list)
    lines[:] = [line.replace("|", r"\|") for line in lines]
