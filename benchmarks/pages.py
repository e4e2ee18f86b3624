"""Pages of the docs: templates, blocks, tables, and the numbers in their cells.

A page, or what a script writes into one, is a Jinja template in benchmarks/templates.
It has all of the text. Scripts hand it results, and functions that make tables of them.
"""

import re
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tabulate import tabulate

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def fill_template(template, /, *functions, **values):
    """Fill a Markdown file of benchmarks/templates; it calls functions by their names.

    Beside Jinja's own, there are the filters and functions at the end of this module.
    ``to`` formats a value as an f-string does. ``table`` aligns rows whose cells are
    separated by ``|``.
    """
    values |= {function.__name__: function for function in functions}
    return TEMPLATES.get_template(f"{template}.md").render(values)


def load_macros(template, /, *functions, **values):
    """Return the macros of a template, as functions."""
    values |= {function.__name__: function for function in functions}
    return TEMPLATES.get_template(f"{template}.md").make_module(values)


def fill_page(path, /, *functions, **values):
    """Write a page from the template of its name."""
    text = fill_template(path.stem, *functions, **values)
    path.write_text(text, encoding="utf-8")


def fill_blocks(path, template, /, *functions, **values):
    """Write the blocks of a template into a page, each in the place of its mark."""
    text = fill_template(template, *functions, **values)
    blocks = re.findall(r"<!-- (.+?) -->\n(.+?)<!-- end", text, re.DOTALL)
    write_blocks(path, dict(blocks))


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


def align_table(text, style="pipe", numbers=False):
    """Align a table: a line a row, with ``|`` between the cells.

    With `numbers`, columns of numbers are aligned to the right.
    """
    rows = [line.split("|") for line in text.splitlines() if line.strip()]
    rows = [[cell.strip() for cell in row] for row in rows]
    return tabulate(rows, "firstrow", style, disable_numparse=not numbers) + "\n"


def as_scores(scores, is_less=None):
    """Format the scores of a frame, the best of each column bold.

    `is_less` says whether less is better, in all columns or in each. Without it no cell
    is bold.
    """
    texts = scores.map(lambda value: "" if np.isnan(value) else f"{value:.3f}")
    if is_less is None:
        return texts
    best = np.where(is_less, scores.min(), scores.max())
    return texts.where(scores != best, "**" + texts + "**")


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
        page = f"{before}{mark}\n\n{content.strip()}\n\n<!-- end{after}"
    path.write_text(page, encoding="utf-8")


TEMPLATES.filters |= {
    "to": format,
    "interval": as_interval,
    "reached": lambda is_reached: "reached" if is_reached else "**not reached**",
    "table": align_table,
}
TEMPLATES.globals |= {"quartiles": as_quartiles, "stamp": stamp, "where": where}
