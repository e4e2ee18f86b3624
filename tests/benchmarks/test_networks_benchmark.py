"""The tables of benchmarks/networks.py, by hand."""

import networks
import numpy as np
from pages import fill_template


def test_a_table_by_hand():
    cell = {
        "rows": 3,
        "features": 2,
        "batch_size": 1,
        "epochs": 1,
        "seeds": 3,
        "seconds": {"default": [1, 2, 4], "dropout=0.3": [2, 3, 4]},
        "accuracy": {"default": [0.5, 0.6, 0.7], "dropout=0.3": [0.51, 0.62, 0.73]},
        "environment": {"cpu": "", "versions": {"torch": ""}},
    }
    # Ratios 2, 1.5, 1. Differences 1, 2, 3: t(.975, 2) = 4.3027 times 1 / sqrt(3).
    page = fill_template("networks", networks.gain, np.average, cells=[cell])
    (row,) = [line for line in page.splitlines() if "dropout" in line]
    assert [part.strip() for part in row.strip("|").split("|")] == [
        "`dropout=0.3`",
        "1.50 [1.25, 1.75]",
        "+2.0 ± 2.5",
    ]


def test_test_rows_have_no_part_in_the_scaling():
    X, y, X_test, y_test = networks.make_data(50, 6, seed=0)
    assert (len(X), len(y), len(X_test), len(y_test)) == (50, 50, 5000, 5000)
    assert abs(X.mean(0)).max() < 1e-6 < abs(X_test.mean(0)).max()
