"""Settings of Sphinx: `make docs` builds the site from this folder."""

import sys
from pathlib import Path

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
html_theme_options = {"show_navbar_depth": 1, "home_page_in_toc": True}
html_context = {"default_mode": "auto"}  # light or dark; the theme needs a value
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Writes the pages that are generated from the code, before Sphinx reads them."""
    generated.write(Path(__file__).parent / "_generated")
    app.connect("autodoc-process-docstring", escape_bars)


def escape_bars(*arguments: object) -> None:
    """Escapes |, which marks substitutions in reStructuredText, in a docstring."""
    lines = arguments[-1]
    assert isinstance(lines, list)
    lines[:] = [line.replace("|", r"\|") for line in lines]
