"""Pages of the docs: templates, blocks, tables, and the numbers in their cells."""

from pathlib import Path

import numpy as np
from tabulate import tabulate

TEMPLATES = Path(__file__).parent / "templates"


def fill_template(template, /, **values):
    """Fill a Markdown file of benchmarks/templates, whose fields are in braces."""
    return (TEMPLATES / f"{template}.md").read_text("utf-8").format(**values)


def save_figure(figure, path, dpi=80):
    """Save a figure, making the folder; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same file on every run.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, dpi=dpi, metadata=metadata)
    return path


def as_table(rows, headers="firstrow", style="pipe"):
    """Format a list of lists, or with `headers` "keys" of dicts, or a data frame."""
    return tabulate(rows, headers, style, disable_numparse=True)


def minus(text):
    """Replace hyphens by minus signs."""
    return text.replace("-", "−")


def as_interval(interval, spec=".3f"):
    """Format a mean and its interval, if it has one: ``0.50 [0.25, 0.75]``."""
    mean, low, high = (f"{value:{spec}}" for value in interval)
    return mean if np.isnan(interval[1]) else f"{mean} [{low}, {high}]"


def as_quartiles(values, base=1, spec=None):
    """Format the median and the quartiles of values, divided by a base pairwise."""
    low, middle, high = np.percentile(np.divide(values, base), [25, 50, 75])
    spec = spec or (".2f" if middle < 10 else ".1f")
    return as_interval((middle, low, high), spec)


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


def stamp(environment, *before):
    """Format the date, the processor and torch of a run as a line of a page."""
    torch = f"torch {environment['versions']['torch']}"
    facts = ", ".join([*before, environment["date"], environment["cpu"], torch])
    return f"<sub>{facts}.</sub>"


def write_blocks(path, blocks):
    """Write texts by name into a page, from ``<!-- name -->`` to ``<!-- end``."""
    page = path.read_text("utf-8")
    for name, content in blocks.items():
        mark = f"<!-- {name} -->"
        before, _, rest = page.partition(mark)
        _, _, after = rest.partition("<!-- end")
        page = f"{before}{mark}\n\n{content}\n\n<!-- end{after}"
    path.write_text(page, encoding="utf-8")
