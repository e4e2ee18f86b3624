"""Long runs of the tests by hypothesis: more examples, and a file of what came of them.

`SKREBATCH_FUZZ` is how many times as many examples to try, `SKREBATCH_TALLY` the file;
benchmarks/abuse.py sets both.
"""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

SCALE = int(os.environ.get("SKREBATCH_FUZZ", "1"))
# Short runs try the same each time, so that a change is what fails them.
REPEATED = {"derandomize": SCALE == 1, "database": None, "deadline": None}
FOUND = Counter()  # what came of all that was tried, by what it was


@pytest.fixture(autouse=True, scope="module")
def tally():
    """Write down, where asked to, what came of the tests of a module."""
    FOUND.clear()
    yield
    if "SKREBATCH_TALLY" in os.environ:
        counts = [[*key, n] for key, n in sorted(FOUND.items())]
        Path(os.environ["SKREBATCH_TALLY"]).write_text(json.dumps(counts), "utf-8")
