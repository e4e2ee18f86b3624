import os
import sys

import numpy as np
import pytest
import torch
from hypothesis import settings

pytest.register_assert_rewrite("helpers")

# On a busy machine an example may take long; that says nothing about the code.
settings.register_profile("skrebatch", deadline=None)
settings.load_profile("skrebatch")

collect_ignore = ["helpers", "typing_samples"]  # some of which must not run


def pytest_configure():
    # Workers side by side, each with all the cores, would wait for one another.
    torch.set_num_threads(1)
    os.environ.setdefault("MPLBACKEND", "Agg")  # pictures open no window


@pytest.fixture(autouse=True)
def same_chance():
    """Give every test the same draws from the global generators."""
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture
def hide(monkeypatch):
    """Return a function that lets a package seem not to be installed."""

    def hide_package(package):
        for name in [*sys.modules, package]:
            if name.split(".")[0] == package:
                monkeypatch.setitem(sys.modules, name, None)

    return hide_package
