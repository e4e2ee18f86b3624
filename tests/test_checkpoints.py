"""A training that is cut off and gone on with ends where it would have, to the bit."""

import os

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from test_combinations import APART, OPTIONS, OWN_OPTIONS, SHARED, covering_rows
from test_estimators import make, make_data

from skrebatch.strategies import MinLoss

pytest.importorskip("safetensors")

FILE = "fit.safetensors"


def facts_of(model):
    """All that a fit has found out, a checksum for each."""
    found = {
        name: value
        for name, value in vars(model).items()
        if name.endswith("_") or name in ("_rngs", "_memories", "_split_seed")
    }
    net = found.pop("net_")
    found["history_"] = [
        {name: value for name, value in row.items() if name != "dur"}
        for row in found.pop("history_")
    ]
    found["module_"] = [p.numpy() for p in model.module_.state_dict().values()]
    found["optimizer"] = [
        {n: np.asarray(value) for n, value in net.optimizer_.state[group].items()}
        for group in net.module_.groups
    ]
    found["rates"] = [rate and rate.take_apart() for rate in model._rates]
    found["logs"] = [log and log.take_apart() for log in model._logs]
    # Of parts that are equal, whether or not they are the same object.
    return {name: joblib.hash(repr_of(value)) for name, value in found.items()}


def repr_of(value):
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return [(name, repr_of(own)) for name, own in value.items()]
    if isinstance(value, list | tuple):
        return [repr_of(own) for own in value]
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if hasattr(value, "weights") and hasattr(value, "chosen"):  # a plan
        return repr_of(vars(value))
    return repr(value)


@pytest.fixture
def written(monkeypatch):
    """Every checkpoint that is written, as bytes."""
    contents = []
    replace = os.replace

    def replace_and_look(source, target):
        with open(source, "rb") as file:
            contents.append(file.read())
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_and_look)
    return contents


def assert_resumed(model, X, y, tmp_path, written, only=None, **data):
    """Fit; go on from each checkpoint, as after a kill; end the same each time."""
    model.set_params(checkpoint_dir=tmp_path, checkpoint_every=1)
    whole = clone(model).fit(X, y, **data)
    expected = facts_of(whole)
    plain = clone(model).set_params(checkpoint_dir=None).fit(X, y, **data)
    assert facts_of(plain) == expected
    contents = written[:]
    assert contents and not os.listdir(tmp_path)
    for content in contents[slice(only, None, only)]:
        (tmp_path / FILE).write_bytes(content)
        resumed = clone(model).fit(X, y, **data)
        assert facts_of(resumed) == expected
        assert not os.listdir(tmp_path)
    return whole, resumed


@pytest.mark.parametrize(
    "task, dtype",
    [("binary", "float32"), ("multiclass", "float64"), ("regression", "float32")],
)
def test_with_any_two_options(task, dtype, tmp_path, written):
    X, y = make_data(task)
    kind = "classifier" if task in ("binary", "multiclass") else "regressor"
    for row in covering_rows({**OPTIONS, **OWN_OPTIONS[kind]}, APART):
        # One file of each, the second: the others have their test below.
        model = make(task, **SHARED, **row).set_params(dtype=dtype)
        whole, resumed = assert_resumed(model, X, y, tmp_path, written, only=2)
        written.clear()
        for each in (whole, resumed):
            each.set_params(early_stopping=False).partial_fit(X, y)
        assert facts_of(resumed) == facts_of(whole)


EARLY = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 12, "lr": 0.1}
APARTS = {
    "16 bits": {"precision": "bf16"},
    "16 bits, scaled": {"precision": "fp16", "max_epochs": 6},
    "elements": {"variable_length": True, "max_elements": 40},
    "some of the networks done": {**EARLY, "n_networks": 5, "random_state": 1},
    "weights of classes": {"class_weight": "balanced", "class_balanced": True},
    "a schedule by steps": {"lr_schedule": "one-cycle", "ratio_schedule": np.sqrt},
    "many batches of dropout": {"dropout": 0.5, "batch_size": 3, "batch_norm": True},
    "the strategy's parameters": {"strategy": MinLoss(), "strategy__window": 0.5},
}
