"""What do the options of the network and its precision cost, and what do they bring?

Every option is compared with the default network in float32, on the same data and from
the same seed: the CPU time of a fit, and the accuracy on a test set. It takes about
five minutes; the page is docs/networks.md.
"""

import time
from functools import partial

import numpy as np
from evidence import corrected_interval
from harness import DOCS, read_setting, run_and_write, single
from pages import fill_blocks
from sklearn.datasets import make_classification
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

N_TEST = 5000
SETTING = read_setting(__file__)
OPTIONS, TABLES = SETTING["options"], SETTING["tables"]


def make_data(rows, features, seed):
    """Draw a training and a test set, with a tenth of the labels drawn anew."""
    X, y = make_classification(
        rows + N_TEST,
        features,
        n_informative=features // 2,
        n_redundant=0,
        n_clusters_per_class=4,
        flip_y=0.1,
        random_state=seed,
    )
    X = StandardScaler().fit(X[:rows]).transform(X).astype(np.float32)
    return X[:rows], y[:rows], X[rows:], y[rows:]


def measure(title, rows, features, epochs, seeds, options=tuple(OPTIONS), **shared):
    """Time and score every option, seed by seed."""
    seconds = {name: [] for name in options}
    accuracy = {name: [] for name in options}

    def make(name, seed):
        own = {**shared, **OPTIONS[name]}
        return single(max_epochs=epochs, random_state=seed, **own)

    X, y, *_ = make_data(200, features, 0)
    for name in options:
        make(name, 0).fit(X, y)  # loads what a first fit loads
    for seed in tqdm(range(seeds), title):
        X, y, X_test, y_test = make_data(rows, features, seed)
        first = seed % len(options)
        for name in (*options[first:], *options[:first]):
            model = make(name, seed)
            start = time.process_time()
            model.fit(X, y)
            seconds[name].append(time.process_time() - start)
            accuracy[name].append(model.score(X_test, y_test))
    found = {"batch_size": model.batch_size_, "seconds": seconds, "accuracy": accuracy}
    return {**TABLES[title], **found}


def gain(cell, option):
    """Write how many points of accuracy an option brings."""
    accuracy = cell["accuracy"]
    points = 100 * np.subtract(accuracy[option], accuracy["default"])
    # Each seed has data of its own: nothing overlaps.
    mean, _, high = corrected_interval(points, 0)
    return f"{mean:+.1f} ± {high - mean:.1f}"


def write_page(results):
    """Write the tables into the page."""
    fill_blocks(
        DOCS / "networks.md", "networks", gain, np.average, cells=results.values()
    )


if __name__ == "__main__":
    sections = {name: partial(measure, name, **table) for name, table in TABLES.items()}
    run_and_write(__doc__, "networks", sections, write_page)
