"""How the site is built: ``python -m sphinx -W --keep-going docs docs/build``."""

import inspect

import schedulers

project = "schedulers"
author = "the schedulers developers"
copyright = author  # noqa: A001
version = release = schedulers.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["build", "gallery/**/*.md5"]
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
    "ignore_pattern": r"(train_digits|jax_scan)\.py$",  # which need PyTorch and JAX
    "reference_url": {"schedulers": None},
    "min_reported_time": 1e9,
    "show_memory": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
}

html_theme = "furo"
html_title = f"schedulers {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
