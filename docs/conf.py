"""How Sphinx builds the documentation: `make docs`."""

import os
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

# With plot_gallery=0, sphinx-gallery imports HalvingGridSearchCV without its example.
from sklearn.experimental import enable_halving_search_cv  # noqa: F401

import skrebatch

# Where the HTML of an estimator, shown in the gallery, finds the pages of the API.
os.environ["SKREBATCH_DOCS"] = ".."

project = "skrebatch"
author = "the skrebatch developers"
copyright = f"2025, {author}"
version = release = skrebatch.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples", "templates"]
templates_path = ["templates"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# Quotes stay as code has them, and as the links in an estimator's HTML look for them.
smartquotes = False

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections have the types
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
# All that scikit-learn checks. What it asks of classes and functions but not of methods
# (more than a line, relatives, examples) is left to tests/test_docs.py.
numpydoc_validation_checks = {
    "all",
    "ES01",
    "EX01",
    "GL01",
    "GL02",
    "RT02",
    "SA01",
}

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("skrebatch",),
    "reference_url": {"skrebatch": None},
    "within_subsection_order": "FileNameSortKey",
    "image_srcset": ["2x"],
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "skrebatch"
html_static_path = ["static"]
html_css_files = ["skrebatch.css"]
html_search_scorer = str(Path(__file__).parent / "search_scores.js")
html_show_sourcelink = False
html_use_index = False
# Pages without others below them need no navigation at their side.
html_sidebars = {
    name: [] for name in ("index", "getting_started", "contributing", "changes")
}
html_theme_options = {
    "footer_end": ["theme-version"],
    "footer_start": ["copyright"],
    "header_links_before_dropdown": 5,
    "navigation_with_keys": False,
    "show_prev_next": False,
}
# Browsers know MathML: formulas need neither a script nor a network.
html_math_renderer = "mathml"
# The theme's class for boxes that scroll by themselves.
SCROLLS = "pst-scrollable-table-container"


def show_formula(translator, node):
    """Write a formula as MathML, a displayed one in a box that scrolls."""
    display = node.tagname == "math_block"
    formula = tex2mathml(node.astext(), as_block=display)
    if display:
        formula = f'<div class="{SCROLLS}">{formula}</div>'
    translator.body.append(formula)
    raise SkipNode  # what is inside is the formula's source


def skip_member(app, what, name, member, skip, options):
    """Leave out what callbacks and metadata routing call, and no user does."""
    routing = name.startswith("set_") and name.endswith("_request")
    return skip or routing or name.startswith("on_")


def correct_html(app, pagename, templatename, context, doctree):
    """Correct the HTML of docutils and the gallery for screen readers and keyboards.

    References become the items of their list. Tables that scroll get the theme's class,
    by which the keyboard reaches them.
    """
    for written, correct in {
        'role="doc-biblioentry"': 'role="listitem"',
        'class="output_subarea output_html': f'class="{SCROLLS} output_html',
    }.items():
        context["body"] = context.get("body", "").replace(written, correct)


def setup(app):
    """Register the formulas, what the API leaves out and the corrections."""
    renderers = show_formula, None
    app.add_html_math_renderer("mathml", renderers, renderers)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("html-page-context", correct_html)
