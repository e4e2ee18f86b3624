"""The training loop of all estimators."""
