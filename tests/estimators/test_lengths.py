"""Rows that end in NaN: nothing sees the padding, row by row and through a training."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.estimators import assert_close, make, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from torch.nn import functional as F

from skrebatch import (
    FusedGridSearchCV,
    TabularCNN,
    fit_fused,
    row_lengths,
)
from skrebatch._engine.nn.architecture import build_architecture, shorten
from skrebatch._engine.nn.losses import SquaredError
from skrebatch._engine.nn.stack import CNNStack, append_constants
from skrebatch._utils.padding import to_width

N, FEATURES = 60, 23
TASKS = ["binary", "multiclass", "regression", "multi-target"]


def make_rows(n=N, n_features=FEATURES, seed=0):
    """Rows of every length up to `n_features`, padded; and their lengths."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, n_features + 1, n)
    lengths[:2] = 1, n_features
    X = rng.normal(size=(n, n_features))
    X[np.arange(n_features) >= lengths[:, None]] = np.nan
    return X, lengths


def make_data(task="binary", **options):
    X, _ = make_rows(**options)
    score = np.nanmean(X, axis=1)
    y = {
        "binary": (score > np.median(score)).astype(int),
        "multiclass": np.digitize(score, np.quantile(score, [0.3, 0.6])),
        "regression": 100 + 20 * score,
        "multi-target": np.column_stack([100 + 20 * score, -3 * X[:, 0]]),
    }[task]
    return X, y


def padded(task="binary", **params):
    return make(task, **{"variable_length": True, "dtype": "float64", **params})


def assert_same(model, other, tolerance=1e-9):
    for result, expected in zip(outcome(model), outcome(other), strict=True):
        assert_close(result, expected, tolerance)


# --- one row, against what its values alone come to ---


def output_of_row(network, row):
    """The network on a row cut to its values, written out with torch's functions."""
    x = row[~row.isnan()][None]  # (C, L)
    for block, layer in zip(network.architecture.blocks, network.features, strict=True):
        conv = layer[1]
        x = F.pad(x, (block.left, block.right))
        x = F.pad(x, (0, max(0, block.kernel_size - x.shape[1])))
        x = F.conv1d(x[None], conv.weight, conv.bias)[0].relu()
        starts = range(0, block.pooled_length * block.pool_stride, block.pool_stride)
        pools = [x[:, start : start + block.pool_size] for start in starts]
        x = torch.stack([pool.amax(1) for pool in pools if pool.shape[1]], dim=1)
    missing = block.pooled_length - x.shape[1]
    return network.head(F.pad(x, (0, missing)).flatten())


def make_network(seed=0, n_features=FEATURES, **options):
    generator = torch.Generator().manual_seed(seed)
    options = {"n_outputs": 2, "hidden_layers": (7,), **options}
    network = TabularCNN(
        n_features, **options, variable_length=True, generator=generator
    )
    return network.double()


ARCHITECTURES = st.fixed_dictionaries(
    {
        "n_features": st.integers(1, 40),
        "conv_channels": st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
        "kernel_size": st.integers(1, 5),
        "pool_size": st.integers(1, 4),
        "pool_stride": st.sampled_from([None, 1, 2, 3]),
        "padding": st.sampled_from(["same", 0, 1, 3]),
        "hidden_layers": st.sampled_from([(7,), (5, 3)]),
    }
)


@settings(max_examples=60)
@given(ARCHITECTURES, st.integers(0, 2**32 - 1))
def test_a_row_is_read_as_its_values_alone(options, seed):
    network = make_network(seed, **options)
    rows = torch.tensor(make_rows(5, options["n_features"], seed)[0])
    expected = torch.stack([output_of_row(network, row) for row in rows])
    torch.testing.assert_close(network(rows), expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=60)
@given(ARCHITECTURES, st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 4]))
def test_the_fused_step_is_that_of_autograd_row_by_row(options, seed, share):
    network = make_network(seed, **options)
    longest = -(-options["n_features"] // share)
    rows = make_rows(5, longest, seed)[0]
    rows = torch.tensor(to_width(rows, options["n_features"]))
    rng = torch.Generator().manual_seed(seed)
    targets = torch.randn(1, 5, 2, generator=rng, dtype=torch.float64)
    outputs = torch.stack([output_of_row(network, row) for row in rows])
    SquaredError().per_sample(outputs, targets[0]).sum().backward()
    expected = copy.deepcopy(network)
    for into, parameter in zip(
        expected.parameters(), network.parameters(), strict=True
    ):
        into.data = parameter.grad
    gradient = make_stack(expected).flat

    stack = make_stack(network)
    step = stack.step(1, 5)
    assert_steps(stack, step, rows, targets, outputs, gradient)
    # Of short rows a smaller stack computes the same.
    short = stack.short_step(1, 5, longest)
    stack.grad[:, 1:] = torch.nan
    assert_steps(stack, short, rows, targets, outputs, gradient)


def make_stack(network):
    stack = CNNStack(network.architecture, (1,), torch.float64)
    stack.write(0, network)
    return stack


def assert_steps(stack, step, rows, targets, outputs, gradient):
    step.rows.copy_(append_constants(rows, variable_length=True))
    result = step.forward()
    torch.testing.assert_close(result[0], outputs.detach(), rtol=1e-10, atol=1e-10)
    step.d_outputs.copy_(SquaredError().slope(2) * (result - targets))
    step.backward()
    torch.testing.assert_close(stack.grad, gradient, rtol=1e-9, atol=1e-10)


def test_a_row_by_hand():
    # Taps (1, 2, 3) and a bias of -1, a pool of 2, then the sum of all positions.
    network = TabularCNN(
        6, conv_channels=(1,), hidden_size=1, variable_length=True
    ).double()
    values = [[[[1.0, 2, 3]]], [-1.0], [[1.0, 1, 1]], [0.0], [[1.0]], [0.0]]
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value).view(parameter.shape))
    rows = torch.full((2, 6), torch.nan, dtype=torch.float64)
    rows[0, :3] = torch.tensor([1.0, 1, 1])
    rows[1, :3] = torch.tensor([1.0, 1, -1])
    # 0 + 2 + 3 - 1, 1 + 2 + 3 - 1 | 1 + 2 + 0 - 1, nothing | nothing: 5 + 2 + 0.
    # 0 + 2 + 3 - 1, 1 + 2 - 3 - 1 | 1 - 2 + 0 - 1 < 0: 4 + 0 + 0.
    assert network(rows)[:, 0].tolist() == [7, 4]
    assert make_stack(network)(rows)[0, :, 0].tolist() == [7, 4]


def test_a_table_without_padding_is_read_as_ever():
    options = {"n_features": 9, "conv_channels": (3, 2), "pool_stride": 1}
    network = make_network(**options)
    plain = TabularCNN(n_outputs=2, hidden_size=7, **options).double()
    plain.load_state_dict(network.state_dict())
    x = torch.randn(4, 9, dtype=torch.float64)
    torch.testing.assert_close(network(x), plain(x), rtol=1e-12, atol=1e-12)


def test_no_rows_have_no_outputs():
    assert make_network()(torch.empty(0, FEATURES, dtype=torch.float64)).shape == (0, 2)


# --- shorter stacks ---


@settings(max_examples=60)
@given(ARCHITECTURES)
def test_a_shortened_network_has_room_for_every_row_up_to_the_length(options):
    architecture = build_architecture(**options, variable_length=True)
    for length in range(1, options["n_features"] + 1):
        short = shorten(architecture, length)
        assert length <= short.n_features <= architecture.n_features
        ends = torch.tensor(length)
        for block, own in zip(architecture.blocks, short.blocks, strict=True):
            ends = block.pooled_ends(ends)
            assert ends <= own.pooled_length <= block.pooled_length


def test_a_quarter_of_the_length_is_a_quarter_of_the_work():
    architecture = build_architecture(64, pool_size=4, variable_length=True)
    assert shorten(architecture, 9).n_features == 16
    assert shorten(architecture, 16).flat_size * 4 == architecture.flat_size
    assert shorten(architecture, 57) == architecture


def test_several_networks_are_shortened_side_by_side():
    networks = [make_network(seed) for seed in range(3)]
    stack = CNNStack(networks[0].architecture, (2, 1), torch.float64)
    for k, network in enumerate(networks):
        stack.write(k, network)
    x = torch.randn(2, 4, FEATURES, dtype=torch.float64)
    x[..., 6:] = torch.nan
    table = append_constants(x.flatten(0, 1), variable_length=True)
    gradients, outputs = [], []
    for step in (stack.step(2, 4), stack.short_step(2, 4, 6)):
        stack.grad[:, 1:] = 7
        step.rows.copy_(table)
        outputs.append(step.forward().clone())
        step.d_outputs.fill_(1)
        step.backward()
        gradients.append(stack.grad.clone())
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-10)
    assert (gradients[1][2, 1:] == 7).all()  # of the third network nothing was asked


def test_a_later_step_sees_new_weights_and_larger_batches():
    network = make_network()
    stack = make_stack(network)
    x = torch.randn(9, FEATURES, dtype=torch.float64)
    x[:, 5:] = torch.nan
    for b in (3, 9, 3):
        with torch.no_grad():
            stack.flat[:, 1:] *= 1.1
        expected = stack.read_all()[0](x[:b])
        step = stack.short_step(1, b, 5)
        step.rows.copy_(append_constants(x[:b], variable_length=True))
        torch.testing.assert_close(step.forward()[0], expected, rtol=1e-10, atol=1e-10)


# --- lengths ---


def test_lengths_by_hand():
    nan = np.nan
    assert row_lengths([[1, nan, nan], [1, 2, 3], [1, 2, nan]]).tolist() == [1, 3, 2]
    assert row_lengths(np.ones((2, 3), dtype=int)).tolist() == [3, 3]
    assert row_lengths(pd.DataFrame({"a": [1.0], "b": [nan]})).tolist() == [1]
    nullable = pd.DataFrame({"a": [1, 2], "b": [pd.NA, 3]}, dtype="Int64")
    assert row_lengths(nullable).tolist() == [1, 2]


BAD_ROWS = {
    "empty": ([[1, 2, np.nan], [np.nan] * 3], "Row 1 of X has length 0"),
    "gap": (
        [[1, 2, 3], [1, 2, np.nan], [1, np.nan, 3]],
        "Row 2 of X has NaN before a value, at column 1",
    ),
    "start": ([[1, 2, 3], [np.nan, 2, 3]], "Row 1 of X has NaN before a value"),
}


@pytest.mark.parametrize("rows, message", BAD_ROWS.values(), ids=BAD_ROWS)
def test_bad_rows_are_named(rows, message):
    with pytest.raises(ValueError, match=message):
        row_lengths(rows)
    y = np.arange(len(rows)) % 2
    with pytest.raises(ValueError, match=message):
        padded().fit(np.array(rows), y)
    good = padded(ratio=0).fit(np.arange(12.0).reshape(4, 3), [0, 1, 0, 1])
    with pytest.raises(ValueError, match=message):
        good.predict(rows)
    with pytest.raises(ValueError, match=f"In X_val and y_val: {message}"):
        padded().fit(np.arange(12.0).reshape(4, 3), [0, 1, 0, 1], None, rows, y)


@pytest.mark.parametrize("variable_length, bad", [(True, "inf"), (False, "inf")])
def test_infinity_is_located_and_padding_is_not(variable_length, bad):
    X, y = make_data()
    X[7, 0] = float(bad)
    if not variable_length:
        X = np.nan_to_num(X, nan=0, posinf=np.inf)
    model = padded(variable_length=variable_length)
    with pytest.raises(
        ValueError, match=r"infinity.*Check column 0 \(.*first in row 7\)\.$"
    ):
        model.fit(X, y)


def test_without_the_parameter_nan_is_refused():
    X, y = make_data()
    with pytest.raises(ValueError, match="Input X contains NaN"):
        make().fit(X, y)
    assert not make().__sklearn_tags__().input_tags.allow_nan
    assert padded().__sklearn_tags__().input_tags.allow_nan


# --- padding changes no prediction ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("task", TASKS)
def test_padding_changes_no_prediction(task, dtype):
    X, y = make_data(task)
    model = padded(task, dtype=dtype, max_epochs=3).fit(X, y)
    predict = getattr(model, "predict_proba", model.predict)
    expected = predict(X)
    more = np.hstack([X, np.full((N, 9), np.nan)])
    np.testing.assert_allclose(predict(more), expected, atol=1e-6, rtol=0)
    for i, length in enumerate(row_lengths(X)):
        alone = predict(X[i : i + 1, :length])
        np.testing.assert_allclose(alone[0], expected[i], atol=1e-6, rtol=1e-9)


def test_values_beyond_the_width_are_refused():
    X, y = make_data()
    model = padded(max_epochs=1).fit(X, y)
    wide = np.hstack([X, np.full((N, 1), np.nan)])
    wide[1, -1] = 3.0  # of the row without padding
    with pytest.raises(ValueError, match=f"X has {FEATURES + 1} features"):
        model.predict(wide)
    with pytest.raises(ValueError, match="features"):
        make(max_epochs=1).fit(np.nan_to_num(X), y).predict(np.ones((3, 5)))


def test_named_columns_must_be_those_of_fit():
    X, y = make_data()
    frame = pd.DataFrame(X, columns=[f"t{i}" for i in range(FEATURES)])
    model = padded(max_epochs=2).fit(frame, y)
    np.testing.assert_array_equal(
        model.predict(frame), padded(max_epochs=2).fit(X, y).predict(X)
    )
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.iloc[:, :5])


def test_to_width_leaves_what_it_cannot_widen():
    for X in ([["a"]], [1, 2], np.ones((2, 3))):
        assert to_width(X, 3) is X


# --- training ---


@pytest.mark.parametrize("strategy", ["min-loss", "ohem", "infobatch"])
def test_without_padding_a_fit_is_the_ordinary_one(strategy):
    X, y = make_data()
    X = np.nan_to_num(X)
    options = {"strategy": strategy, "batch_size": 16}
    model = padded(**options).fit(X, y)
    twin = padded(variable_length=False, **options).fit(X, y)
    assert_same(model, twin, 1e-10)


def test_the_first_epochs_are_those_of_autograd():
    """Plain batches of the natural order, the network as torch would train it."""
    X, y = make_data("regression")
    model = padded(
        "regression",
        ratio=0,
        batch_size=20,
        optimizer="sgd",
        max_epochs=2,
        standardize_target=False,
        lr=1e-5,
    ).fit(X, y)
    network = clone(model).set_params(lr=1e-300).fit(X, y).module_
    rng = np.random.default_rng(seed_of(0))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-5)
    for epoch in range(2):
        order = rng.permutation(N) if epoch == 0 else shuffled(rng)
        for rows in np.split(order, 3):
            optimizer.zero_grad()
            outputs = [output_of_row(network, torch.tensor(X[i])) for i in rows]
            loss = F.mse_loss(torch.stack(outputs)[:, 0], torch.tensor(y[rows]))
            loss.backward()
            optimizer.step()
    for own, theirs in zip(
        model.module_.parameters(), network.parameters(), strict=True
    ):
        torch.testing.assert_close(own, theirs, rtol=1e-9, atol=1e-10)


def seed_of(random_state):
    return int(np.random.RandomState(random_state).randint(2**31 - 1, size=1)[0])


def shuffled(rng):
    order = np.arange(N)
    rng.shuffle(order)
    return order


@pytest.mark.parametrize("task", TASKS)
def test_losses_are_of_the_rows_alone(task):
    X, y = make_data(task)
    model = padded(task, record_losses=True).fit(X, y)
    one_by_one = clone(model).set_params(max_epochs=4).fit(X, y)
    np.testing.assert_array_equal(model.sample_losses_, one_by_one.sample_losses_)
    if task == "binary":
        proba = model.predict_proba(X)[np.arange(N), y]
        np.testing.assert_allclose(model.sample_losses_, -np.log(proba), rtol=1e-9)
    np.testing.assert_allclose(
        model.recorded_losses_[-1], model.sample_losses_, rtol=1e-6
    )


class Batches(Callback):
    """Note the rows of every batch."""

    def on_epoch_begin(self, net, **kwargs):
        if not hasattr(self, "epochs_"):
            self.epochs_ = []
        self.epochs_.append([])

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        self.epochs_[-1].append(batch[0].tolist())


@pytest.mark.parametrize("repeats", [0, 1, 2])
def test_batches_keep_within_the_budget(repeats):
    X, y = make_data()
    lengths, batches = row_lengths(X), Batches()
    model = padded(max_elements=50, repeats=repeats, callbacks=[batches]).fit(X, y)
    for epoch in batches.epochs_:
        assert all(len(rows) * lengths[rows].max() <= 50 for rows in epoch)
        # Rows of similar length are together: not just in small batches.
        assert sum(lengths[rows].sum() for rows in epoch) > 0.7 * sum(
            len(rows) * lengths[rows].max() for rows in epoch
        )
    counts = np.bincount(np.concatenate(batches.epochs_[-1]), minlength=N)
    expected = np.ones(N, dtype=int)
    expected[model.chosen_] = repeats
    np.testing.assert_array_equal(counts, expected)


def test_a_large_budget_is_one_batch():
    # A budget for all rows at once is one batch of the whole table.
    X, y = make_data("regression")
    options = {"ratio": 0, "max_epochs": 3, "optimizer": "sgd"}
    model = padded("regression", max_elements=10**6, **options).fit(X, y)
    whole = padded("regression", batch_size=N, **options).fit(X, y)
    np.testing.assert_allclose(model.loss_curve_, whole.loss_curve_, rtol=1e-9)
    assert model.batch_size_ == N


def with_budget(**params):
    return padded(**{"max_elements": 50, **params})


OPTIONS = {
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2},
    "left out": {"repeats": 0, "strategy": "max-loss"},
    "OHEM": {"strategy": "ohem"},
    "InfoBatch": {"strategy": "infobatch"},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
}


@pytest.mark.parametrize("max_elements", [None, 50])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_in_a_stack_as_alone(options, max_elements):
    X, y = make_data()
    models = [
        padded(max_elements=max_elements, random_state=seed, **options)
        for seed in range(2)
    ]
    models += [padded(batch_size=16, ratio=0), make(dtype="float64", batch_size=16)]
    singles = [clone(model).fit(X, y) for model in models[:3]]
    with pytest.raises(ValueError, match="contains NaN"):
        fit_fused(models, X, y)  # the last one takes no padding
    for model, single in zip(models, singles, strict=False):
        assert_same(model, single, 1e-9)


@pytest.mark.parametrize("max_elements", [None, 50])
def test_several_rounds_of_partial_fit_end_where_a_fit_ends(max_elements):
    X, y = make_data()
    whole = padded(max_elements=max_elements).fit(X, y)
    model = padded(max_elements=max_elements)
    for _ in range(4):
        model.partial_fit(X, y, classes=[0, 1])
    assert_same(model, whole, 1e-12)
    short = np.isnan(X[:, -1])  # rows that do without the last column
    more = pickle.loads(pickle.dumps(model)).partial_fit(X[short, :-1], y[short])
    assert more.n_iter_ == 5


def test_a_pickle_predicts_the_same():
    X, y = make_data()
    model = with_budget().fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert_same(clone(again).fit(X, y), model, 0)


def test_rows_of_weight_zero_are_left_out():
    X, y = make_data()
    weights = np.r_[np.zeros(20), np.random.default_rng(0).uniform(0.5, 2, N - 20)]
    model = with_budget().fit(X, y, weights)
    rest = with_budget().fit(X[20:], y[20:], weights[20:])
    np.testing.assert_allclose(
        model.predict_proba(X), rest.predict_proba(X), atol=1e-10
    )


@pytest.mark.parametrize("max_elements", [None, 60])
def test_a_fused_search_scores_as_scikit_learn_does(max_elements):
    X, y = make_data()
    model = padded(max_elements=max_elements, max_epochs=3)
    grid = {"ratio": [0.1, 0.3], "repeats": [0, 2]}
    options = {"cv": 2, "scoring": "neg_log_loss"}
    fused = FusedGridSearchCV(model, grid, **options).fit(X, y)
    plain = GridSearchCV(model, grid, **options).fit(X, y)
    np.testing.assert_allclose(
        fused.cv_results_["mean_test_score"],
        plain.cv_results_["mean_test_score"],
        rtol=1e-9,
    )


def test_a_search_over_budgets_and_batch_sizes():
    X, y = make_data()
    grid = [{"max_elements": [40, 80]}, {"batch_size": [8, 16]}]
    model, options = padded(max_epochs=3), {"cv": 2, "scoring": "neg_log_loss"}
    fused = FusedGridSearchCV(model, grid, **options).fit(X, y)
    plain = GridSearchCV(model, grid, **options).fit(X, y)
    np.testing.assert_allclose(
        fused.cv_results_["mean_test_score"],
        plain.cv_results_["mean_test_score"],
        rtol=1e-9,
    )
