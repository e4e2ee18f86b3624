"""Pages of the docs: templates, blocks, tables, and the numbers in their cells."""

from pathlib import Path

import numpy as np
from tabulate import tabulate

TEMPLATES = Path(__file__).parent / "templates"


def fill_template(template, /, **values):
    """Fill a Markdown file of benchmarks/templates, whose fields are in braces."""
    return (TEMPLATES / f"{template}.md").read_text("utf-8").format(**values)


def fill_block(text, begin, end, content):
    """Replace the text between two marks of a page."""
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{content}{end}{after}"


def save_figure(figure, path, dpi=80):
    """Save a figure, making the folder; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path


def as_table(rows, headers="firstrow", style="pipe"):
    """Format rows as a table; style "simple" is for the terminal.

    Parameters
    ----------
    rows : list of list or list of dict
    headers : list of str, "firstrow" or "keys", default="firstrow"
        "keys" for dicts.
    style : str, default="pipe"
        A format of tabulate.

    Returns
    -------
    str
    """
    return tabulate(rows, headers, style, disable_numparse=True)


def minus(text):
    """Replace hyphens by minus signs."""
    return text.replace("-", "−")


def as_interval(interval, spec=".3f"):
    """Format a mean and the ends of its interval, by a format specification.

    Examples
    --------
    >>> as_interval((0.5, 0.25, 0.75), "+.2f")
    '+0.50 [+0.25, +0.75]'
    """
    mean, low, high = (f"{value:{spec}}" for value in interval)
    return f"{mean} [{low}, {high}]"


def as_quartiles(values, base=1):
    """Format the median and the quartiles of values, divided by a base pairwise.

    Examples
    --------
    >>> as_quartiles([2, 4, 6], [2, 2, 2])
    '2.00 [1.50, 2.50]'
    """
    low, middle, high = np.percentile(np.divide(values, base), [25, 50, 75])
    return as_interval((middle, low, high), ".2f" if middle < 10 else ".1f")


def list_versions(versions):
    """Format versions, without packages that are missing."""
    return ", ".join(f"{name} {value}" for name, value in versions.items() if value)


def where(environment, *more):
    """Format an environment, and further facts, as a line of a page."""
    machine = f"{environment['cpu']}, {environment['cores']} cores"
    if environment["gpu"]:
        machine += f", {environment['gpu']}"
    found = list_versions(environment["versions"])
    return f"<sub>{environment['date']}, {'; '.join([machine, found, *more])}.</sub>"


def write_blocks(path, blocks):
    """Write the text of a page between ``<!-- name -->`` and ``<!-- end``.

    Parameters
    ----------
    path : Path
    blocks : dict of str to str
        The text of each block by the name in its mark.
    """
    text = path.read_text("utf-8")
    for name, content in blocks.items():
        text = fill_block(text, f"<!-- {name} -->", "<!-- end", f"\n\n{content}\n\n")
    path.write_text(text, encoding="utf-8")
