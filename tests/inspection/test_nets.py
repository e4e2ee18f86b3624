"""Nets of skorch in training_dynamics, find_label_issues and the plots."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from torch import nn
from torch.utils.data import TensorDataset

from skrebatch import (
    LossCurveDisplay,
    ReBatch,
    ReBatchCNNClassifier,
    SampleDynamicsDisplay,
    find_label_issues,
    training_dynamics,
)

N, FEATURES = 60, 4
X, CLASSES = make_blobs(N, FEATURES, centers=3, random_state=0)
X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
WRONG = np.random.default_rng(0).permutation(N)[:6]
CRITERIA = {
    NeuralNetClassifier: nn.CrossEntropyLoss,
    NeuralNetBinaryClassifier: nn.BCEWithLogitsLoss,
    NeuralNetRegressor: nn.MSELoss,
}


def make(cls=NeuralNetClassifier, n_outputs=3, rebatch=None, **params):
    torch.manual_seed(0)
    options = {
        "criterion": CRITERIA.get(cls),
        "optimizer": torch.optim.Adam,
        "callbacks": [rebatch or ReBatch(record_losses=True, random_state=0)],
        "max_epochs": 12,
        "lr": 0.05,
        "batch_size": 8,
        "verbose": 0,
    }
    sizes = {"module__in_features": FEATURES, "module__out_features": n_outputs}
    return cls(nn.Linear, **{**sizes, **options, **params})


def with_errors(task):
    """Labels or targets of which those of WRONG are wrong."""
    y = {
        "classes": CLASSES.copy(),
        "two classes": (CLASSES == 1).astype(np.float32),
        "numbers": X[:, :1] - X[:, 1:2],
        "two numbers": X[:, :2] - X[:, 2:],
    }[task]
    if task == "classes":
        y[WRONG] = (y[WRONG] + 1) % 3
    elif task == "two classes":
        y[WRONG] = 1 - y[WRONG]
    else:
        y[WRONG] += np.where(y[WRONG] < 0, 4, -4)
    return y


@pytest.fixture(scope="module")
def fitted():
    """A net and the labels that it was fitted to."""
    y = with_errors("classes")
    return make().fit(X, y), y


@pytest.mark.parametrize(
    "task, cls, n_outputs",
    [
        ("classes", NeuralNetClassifier, 3),
        ("two classes", NeuralNetBinaryClassifier, 1),
        ("numbers", NeuralNetRegressor, 1),
        ("two numbers", NeuralNetRegressor, 2),
    ],
)
def test_wrong_labels_and_targets_are_found(task, cls, n_outputs):
    y = with_errors(task)
    net = make(cls, n_outputs).fit(X, y)
    issues = find_label_issues(X, y, net).sort_index()
    is_wrong = np.isin(np.arange(N), WRONG)
    # By chance .1
    assert average_precision_score(is_wrong, -issues["label_quality"]) > 0.9
    assert issues["is_label_issue"].sum() == round(N * issues.attrs["share_of_issues"])
    assert issues["is_label_issue"][WRONG].mean() > 0.5
    assert issues["given_label"].tolist() == (
        [tuple(row) for row in y.tolist()] if task == "two numbers" else [*y.ravel()]
    )
    predicted = net.predict(X).reshape(y.shape).tolist()
    if "classes" in task:
        assert issues["predicted_label"].tolist() == predicted
    quality = training_dynamics(net)["label_quality"]
    assert quality.tolist() == issues["label_quality"].tolist()
    assert quality.between(0, 1).all()


def test_dynamics_of_one_epoch_by_hand():
    y = with_errors("classes")
    net = make(rebatch=ReBatch(0, record_losses=True), max_epochs=1).fit(X, y)
    proba = net.predict_proba(X)[np.arange(N), y]
    dynamics = training_dynamics(net)
    assert dynamics["confidence"].to_numpy() == pytest.approx(proba, rel=1e-5)
    assert dynamics["first_learned"].notna().equals(pd.Series(proba > 0.5))
    assert not dynamics["times_chosen"].any()
    targets = with_errors("numbers")
    net = make(NeuralNetRegressor, 1, ReBatch(0, record_losses=True), max_epochs=1).fit(
        X, targets
    )
    errors = (net.predict(X) - targets)[:, 0] ** 2
    expected = np.exp(-errors / (2 * errors.mean()))
    dynamics = training_dynamics(net)
    assert dynamics["confidence"].to_numpy() == pytest.approx(expected, rel=1e-5)
    assert dynamics["first_learned"].isna().all()  # the scale is not known


def test_probabilities_of_one_are_not_above_it():
    net = make(module__bias=False, max_epochs=1, criterion=nn.NLLLoss)
    net.set_params(module=Sure).fit(X, CLASSES)
    assert training_dynamics(net)["confidence"].max() == 1


class Sure(nn.Linear):
    """The probability of class 0 is one."""

    def forward(self, inputs):
        return torch.tensor([1.0, 0, 0]).expand(len(inputs), 3) + 0 * super().forward(
            inputs
        )


def test_a_net_at_the_end_of_a_pipeline_or_in_a_search(fitted):
    net, y = fitted
    expected = find_label_issues(X, y, net)
    as_float = FunctionTransformer(lambda table: np.array(table, np.float32))
    pipeline = make_pipeline(as_float, make()).fit(X.astype(float), y)
    names = [f"row {i}" for i in range(N)]
    frame = pd.DataFrame(X.astype(float), index=names)
    issues = find_label_issues(frame, y, make_pipeline(as_float, net))
    assert issues.index.tolist() == [names[i] for i in expected.index]
    found = find_label_issues(X.astype(float), y, pipeline)
    pd.testing.assert_frame_equal(found, expected)
    grid = {"callbacks__ReBatch__ratio": [0.15]}
    torch.manual_seed(0)
    search = GridSearchCV(make(max_epochs=1), grid, cv=2).fit(X, y)
    pd.testing.assert_frame_equal(
        training_dynamics(search), training_dynamics(search.best_estimator_)
    )


def test_a_dataset_of_torch(fitted):
    net, y = fitted
    data = TensorDataset(torch.tensor(X), torch.tensor(y))
    other = make().fit(data, y)  # which skorch stratifies by
    pd.testing.assert_frame_equal(
        find_label_issues(data, y, other), find_label_issues(X, y, net)
    )


def test_plots(fitted):
    net, _ = fitted
    display = SampleDynamicsDisplay.from_estimator(
        net, kind="choices", ax=Figure().subplots()
    )
    assert display.choices.shape == (12, N)
    twice = make(rebatch=ReBatch(repeats=2), max_epochs=2).fit(X, CLASSES)
    ax = Figure().subplots()
    display = LossCurveDisplay.from_estimator([net, twice], baseline=net, ax=ax)
    _, name = sorted({name for name, _ in display.curves}, key=lambda n: "=2" in n)
    assert "repeats=2" in name and "max_epochs=2" in name
    for part, key in ("training", "train_loss"), ("validation", "valid_loss"):
        assert display.curves[name, part].tolist() == twice.history[:, key]
    assert ax.get_ylabel() == "log loss"
    # A net needs no ReBatch for its curves, and can be compared with an estimator.
    plain = make(callbacks=[], train_split=None, max_epochs=1).fit(X, CLASSES)
    model = ReBatchCNNClassifier(n_networks=1, max_epochs=1).fit(X, CLASSES)
    display = LossCurveDisplay.from_estimator({"a": plain, "b": model}, ax=ax)
    assert ("a", "validation") not in display.curves
    absolute = make(NeuralNetRegressor, 1, criterion=nn.L1Loss, max_epochs=1)
    absolute.fit(X, X[:, :1])
    with pytest.raises(ValueError, match="same kind of loss, got L1Loss and log loss"):
        LossCurveDisplay.from_estimator([plain, absolute])


def test_an_interrupted_epoch_has_no_losses():
    def stop(net, X, y):
        raise KeyboardInterrupt

    net = make(max_epochs=1).fit(X, CLASSES)
    net.module_.register_forward_pre_hook(lambda *args: stop(*args, None))
    net.partial_fit(X, CLASSES)
    curve = LossCurveDisplay.from_estimator(net, ax=Figure().subplots()).curves
    assert np.isnan(curve["NeuralNetClassifier", "training"]).tolist() == [False, True]


class Density(nn.GaussianNLLLoss):
    def forward(self, outputs, targets):
        return super().forward(outputs, targets, torch.full_like(outputs, 1e-6))


Y = with_errors("classes")
FUNCTIONS = [training_dynamics, lambda net: find_label_issues(X, Y, net)]


@pytest.mark.parametrize("call", FUNCTIONS, ids=["dynamics", "issues"])
def test_nets_without_records_are_refused(call):
    for net in (make(), make().initialize(), make_pipeline(make())):
        with pytest.raises(NotFittedError):
            call(net)
    quick = {"max_epochs": 1}
    with pytest.raises(ValueError, match="NeuralNetClassifier was trained without ReB"):
        call(make(callbacks=[], **quick).fit(X, Y))
    with pytest.raises(ValueError, match="This ReBatch has no .* record_losses=True"):
        call(make(rebatch=ReBatch(), **quick).fit(X, Y))
    with pytest.raises(TypeError, match="NeuralNetClassifier, .* or a Pipeline"):
        call(make(NeuralNet, criterion=nn.CrossEntropyLoss, **quick).fit(X, Y))
    net = make(NeuralNetRegressor, 1, criterion=Density, module__bias=False, **quick)
    with pytest.raises(ValueError, match="recorded losses below 0"):
        call(net.fit(np.zeros_like(X), np.zeros((N, 1), np.float32)))


def test_other_rows_are_refused(fitted):
    net, y = fitted
    for args, message in [
        ((X[1:], y[1:]), "fitted to 60 rows, but y has 59"),
        ((X[1:], y), "X has 59 rows, but y has 60"),
        ((X, y + 1), r"not among the classes: \[3\]"),
        ((X, np.column_stack([y, y])), r"one label for each row .* \(60, 2\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            find_label_issues(*args, net)
