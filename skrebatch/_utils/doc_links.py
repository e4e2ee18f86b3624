"""Where the documentation is: the links in an estimator's HTML."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, metadata


class LinkedMixin:
    """Lets the HTML that stands for an object link its page of the documentation."""

    # scikit-learn's protocol: objects of classes outside this module have no link.
    _doc_link_module = "skrebatch"

    @property
    def _doc_link_template(self) -> str:
        """Address with the class's name left open; empty, no link, without a site."""
        site = find_site()
        return f"{site}/api/skrebatch.{{estimator_name}}.html" if site else ""


def find_site() -> str:
    """Return the address of the documentation, or an empty string.

    The environment variable ``SKREBATCH_DOCS`` names one, such as that of the pages
    that ``make docs`` has built; else it is the package's own, where it has one.
    """
    if "SKREBATCH_DOCS" in os.environ:
        return os.environ["SKREBATCH_DOCS"].rstrip("/")
    try:
        addresses = metadata("skrebatch").get_all("Project-URL", [])
    except PackageNotFoundError:  # a copy that is not installed
        return ""
    named = dict(address.split(", ", 1) for address in addresses)
    return named.get("Documentation", "").rstrip("/")
