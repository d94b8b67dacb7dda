"""The site: `sphinx-build -W docs .site`; nothing is fetched to build or read.

Pages are Markdown that reads as well where it lies; only index.md and the
reference, which is made from the docstrings, need Sphinx.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "ext")]

project = "offalign"
author = "The offalign authors"
html_title = "offalign"

extensions = [
  "myst_parser",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
  "mathml",
  "plain_docstrings",
  "reference",
  "offline",
  "evidence",
]
# The example package is read where it lies.
exclude_patterns = ["examples", "ext", "_static"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# Blocks of what a program prints are in no language.
highlight_language = "none"

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the signature has them
napoleon_use_rtype = False
python_maximum_signature_line_length = 76
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

# `Loss` is where it is defined, and in offalign.losses.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False
