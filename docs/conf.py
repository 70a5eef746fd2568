"""How Sphinx builds the documentation; `make docs` runs it."""

from autoup import __version__

project = "autoup"
copyright = "The autoup developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore_regex = [  # Types that are not described here.
    ("py:.*", r"(torch|nn|collections|fractions|typing)\..*|Tensor|Conv|Skip"),
    ("py:.*", r"autoup\..*(ConstantGrid|Drawing|Skip|Stage|\.Conv)"),
]

myst_enable_extensions = ["attrs_block"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_custom_sections = ["Shape"]
napoleon_use_ivar = True
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"autoup {version}"
html_static_path = ["_static"]
html_css_files = ["house.css"]
html_sidebars = {"**": ["pages.html"]}
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "autoup"},
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "primary_sidebar_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "article_header_start": [],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
templates_path = ["_templates"]


def setup(app):
    """Leave out the blank line that ends a doctest ahead of its fence."""
    app.connect("source-read", _close_fences)


def _close_fences(_app, _docname, source):
    source[0] = source[0].replace("\n\n```\n", "\n```\n")
