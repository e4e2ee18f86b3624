"""Recorded losses for the tests of inspection and plots.

`fit(...)` with ``record_losses=True`` will make `record` a plain fit.
"""

import numpy as np
import pandas as pd


def record(model, X, y):
    """Fit epoch by epoch, and keep what `record_losses` keeps."""
    losses, choices = [], []
    for _ in range(model.max_epochs):
        model.partial_fit(X, y)
        losses.append(model.sample_losses_.astype(np.float32))
        choices.append(np.isin(np.arange(len(X)), model.chosen_))
    model.recorded_epochs_ = np.arange(1, model.max_epochs + 1)
    model.recorded_losses_ = np.array(losses)
    model.recorded_choices_ = np.array(choices)
    model.times_chosen_ = model.recorded_choices_.sum(axis=0)
    if isinstance(X, pd.DataFrame):
        model.sample_index_ = X.index
    return model
