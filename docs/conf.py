"""How Sphinx builds these pages: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import thetascope  # noqa: E402

project = "thetascope"
author = "The thetascope developers"
copyright = "The thetascope developers. MIT licence"  # noqa: A001 - Sphinx's name
version = release = thetascope.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_help",
    "mathml",
    "shown_code",
    "shown_experiments",
]
exclude_patterns = ["_build", "_ext", "_made"]

# pages
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_ambiguous"]

# docstrings
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = (
    "none"  # the signature has them in short, the sections below say what they mean
)
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_admonition_for_examples = False

# looks: nothing is fetched from elsewhere
html_theme = "furo"
html_title = "thetascope"
html_static_path = ["_static"]
html_css_files = ["thetascope.css"]
html_math_renderer = "mathml"
html_copy_source = html_show_sourcelink = False
pygments_style, pygments_dark_style = "friendly", "monokai"
