"""Pages of the docs with blocks that a benchmark writes."""


def fill_block(text, begin, end, content):
    """Replace what stands between two marks of a page."""
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{content}{end}{after}"
