"""How the site is built: ``python -m sphinx -W --keep-going docs docs/build``."""

import re
import sys
from pathlib import Path

import schedulers

sys.path.insert(0, str(Path(__file__).parent))  # for figures.py

project = "schedulers"
author = "the schedulers developers"
copyright = author
version = release = schedulers.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["build", "gallery/**/*.md5"]
default_role = "autolink"  # a name in backquotes is a link where there is something of that name
highlight_language = "none"
smartquotes = False  # sigma' is no quotation
nitpicky = True
nitpick_ignore_regex = [
    # What numpydoc takes for names of classes in the description of a type.
    ("py:class", r"(?!schedulers\.).*"),
    ("py:obj", r"(?!schedulers\.).*"),
]

autodoc_typehints = "none"  # the docstrings say it
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"(train_digits|train_patches|jax_scan|dask_cluster)\.py$",
    "image_scrapers": ("figures.whole_figures",),
    "reference_url": {"schedulers": None},
    "min_reported_time": 1e9,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
}

copybutton_prompt_text = r">>> |\.\.\. "  # which is not copied
copybutton_prompt_is_regexp = True

templates_path = ["_templates"]
html_theme = "furo"
html_title = f"schedulers {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False


def set_formulas(app, what, name, obj, options, lines):
    """Make indented formulas literal blocks, and powers in running text no markup.

    In a docstring's summary, that is: docstrings are written for `help`, too.
    """
    rules = (i - 1 for i, line in enumerate(lines) if line and set(line) == {"-"})
    end = next(rules, len(lines))
    made = []
    for before, line in zip(["", *lines], lines[:end], strict=False):
        formula = line.startswith("    ")
        if formula and not before.strip():
            made += [".. rst-class:: formula", "", "::", ""]
        if not formula and not line.startswith((">>>", "...")):
            line = re.sub(r"(``.*?``)|\*\*|\|", _escaped, line)
        made.append(line)
    lines[:end] = made


NAMES = re.compile(rf"(?<!`)`((?:{'|'.join(schedulers.__all__)})(?:\.\w+)*)`")


def link_names(app, what, name, obj, options, lines):
    """Link the package's public names from its modules' pages, too."""
    lines[:] = [NAMES.sub(r":py:obj:`\1 <schedulers.\1>`", line) for line in lines]


def _escaped(match):
    return match[1] or "".join("\\" + character for character in match[0])


def close_examples(app, name, source):
    """Drop the empty line that ends an example for doctest."""
    source[0] = source[0].replace("\n\n```\n", "\n```\n")


def setup(app):
    """Connect what is defined above; before numpydoc, which makes sections of the rest."""
    app.connect("source-read", close_examples)
    app.connect("autodoc-process-docstring", set_formulas, priority=100)
    app.connect("autodoc-process-docstring", link_names, priority=200)
