"""Links to the documentation in the HTML representation of estimators."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, metadata


class LinkedMixin:
    """Mixin that adds a documentation link to an object's HTML representation."""

    # scikit-learn adds links only to objects whose class is in this module.
    _doc_link_module = "skrebatch"

    @property
    def _doc_link_template(self) -> str:
        """URL template with the class name as a field; empty if there is no site."""
        site = find_site()
        return f"{site}/api/skrebatch.{{estimator_name}}.html" if site else ""


def find_site() -> str:
    """Return the URL of the documentation, or an empty string if there is none.

    The environment variable ``SKREBATCH_DOCS`` takes precedence, for example to link
    the pages built by ``make docs``. Otherwise, the URL is taken from the metadata of
    the package.
    """
    if "SKREBATCH_DOCS" in os.environ:
        return os.environ["SKREBATCH_DOCS"].rstrip("/")
    try:
        urls = metadata("skrebatch").get_all("Project-URL", [])
    except PackageNotFoundError:  # the package is imported without being installed
        return ""
    by_label = dict(url.split(", ", 1) for url in urls)
    return by_label.get("Documentation", "").rstrip("/")
