"""What training_dynamics makes of recorded losses."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import make, make_data
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skrebatch import ReBatchCNNClassifier, ReBatchCNNRegressor, training_dynamics

COLUMNS = [
    "mean_loss",
    "confidence",
    "variability",
    "times_chosen",
    "first_learned",
    "label_quality",
]
SMALL = {
    "n_networks": 1,
    "max_epochs": 3,
    "batch_size": 32,
    "record_losses": True,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X)[:200], y[:200]


def fitted_with(losses, model=None, epochs=None):
    """Return a fitted model that holds these losses as if it had recorded them."""
    rng = np.random.default_rng(0)
    losses = np.array(losses, dtype=np.float32)
    n_recorded, n_samples = losses.shape
    model = ReBatchCNNClassifier() if model is None else model
    model.set_params(max_epochs=1, ratio=0)
    model.fit(rng.normal(size=(n_samples + 2, 2)), np.arange(n_samples + 2) % 2)
    model.recorded_losses_ = losses
    model.recorded_epochs_ = np.arange(1, n_recorded + 1) if epochs is None else epochs
    model.recorded_choices_ = np.zeros(losses.shape, dtype=bool)
    model.times_chosen_ = np.arange(n_samples)
    return model


def test_classifier_by_hand():
    # Probabilities of the given label by epoch: .8 .6, .2 .6, .1 .3.
    losses = -np.log([[0.8, 0.2, 0.1], [0.6, 0.6, 0.3]])
    dynamics = training_dynamics(fitted_with(losses, epochs=np.array([2, 4])))
    assert list(dynamics.columns) == COLUMNS
    assert dynamics["mean_loss"].to_numpy() == pytest.approx(losses.mean(axis=0))
    assert dynamics["confidence"].to_numpy() == pytest.approx([0.7, 0.4, 0.2])
    assert dynamics["variability"].to_numpy() == pytest.approx([0.1, 0.2, 0.1])
    assert dynamics["times_chosen"].tolist() == [0, 1, 2]
    assert dynamics["first_learned"].tolist() == [2, 4, pd.NA]
    assert str(dynamics["first_learned"].dtype) == "Int64"
    assert dynamics["label_quality"].to_numpy() == pytest.approx([0.7, 0.4, 0.2])


def test_regressor_by_hand():
    # The mean losses are 1 and 2: confidences are exp(-l / 2) and exp(-l / 4).
    losses = [[0, 0.5, 2.5], [1, 2, 3]]
    dynamics = training_dynamics(fitted_with(losses, ReBatchCNNRegressor()))
    now = np.exp([[0, -0.25, -1.25], [-0.25, -0.5, -0.75]])
    assert dynamics["confidence"].to_numpy() == pytest.approx(now.mean(axis=0))
    assert dynamics["variability"].to_numpy() == pytest.approx(now.std(axis=0))
    assert dynamics["label_quality"].to_numpy() == pytest.approx(now.mean(axis=0))
    assert dynamics["first_learned"].tolist() == [1, 1, pd.NA]


def test_a_regressor_s_scale_does_not_matter_to_its_confidence():
    losses = np.random.default_rng(0).exponential(size=(4, 7))
    one, other = (
        training_dynamics(
            fitted_with(losses * factor, ReBatchCNNRegressor(standardize_target=False))
        )
        for factor in (1, 1e6)
    )
    assert other["confidence"].to_numpy() == pytest.approx(one["confidence"].to_numpy())
    # What predicting the mean would lose is not known without the target's variance.
    assert one["first_learned"].isna().all()


def test_rows_without_weight_do_not_change_the_confidence_of_others():
    X, y = make_data("regression")
    with_another = np.append(X, X[:1], axis=0), np.append(y, 1e6)
    model = make("regression", record_losses=True)
    model.fit(*with_another, sample_weight=np.append(np.ones(len(y)), 0))
    alone = make("regression", record_losses=True).fit(X, y)
    for name in ("confidence", "variability"):
        assert training_dynamics(model)[name][:-1].to_numpy() == pytest.approx(
            training_dynamics(alone)[name].to_numpy()
        )
    assert training_dynamics(model)["confidence"].iloc[-1] < 1e-9
    # A fit without weights forgets those of the last one.
    assert not hasattr(model.fit(X, y), "recorded_weights_")


def test_a_regressor_without_any_loss_is_sure():
    model = fitted_with(np.zeros((2, 3)), ReBatchCNNRegressor())
    assert training_dynamics(model)["confidence"].tolist() == [1, 1, 1]


def test_learned_and_unlearned_counts_from_the_first_time():
    losses = [[1.0], [0.1], [1.0], [0.1]]
    assert training_dynamics(fitted_with(losses))["first_learned"].tolist() == [2]


def test_a_probability_of_one_half_is_not_learned():
    above = np.nextafter(np.float32(math.log(2)), np.float32(1))
    dynamics = training_dynamics(fitted_with([[above, 0.69]]))
    assert dynamics["first_learned"].tolist() == [pd.NA, 1]


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 5)).flatmap(
        lambda shape: arrays(np.float32, shape, elements=st.floats(0, 200, width=32))
    ),
    st.sampled_from(["classifier", "regressor"]),
)
def test_columns_are_what_their_definitions_say(losses, kind):
    n_samples = losses.shape[1]
    if kind == "classifier":
        model, scales = CLASSIFIER, np.ones((len(losses), 1))
    else:
        model, scales = REGRESSOR, 2 * losses.mean(axis=1, dtype=float, keepdims=True)
        scales[scales == 0] = 1
    model.recorded_losses_ = losses
    model.recorded_epochs_ = np.arange(1, len(losses) + 1)
    model.times_chosen_ = np.zeros(n_samples, dtype=int)
    dynamics = training_dynamics(model)
    now = np.exp(-losses.astype(float) / scales)
    close = {"abs": 1e-12, "rel": 1e-9}
    assert dynamics["confidence"].to_numpy() == pytest.approx(now.mean(0), **close)
    assert dynamics["variability"].to_numpy() == pytest.approx(now.std(0), **close)
    assert dynamics["label_quality"].between(0, 1).all()


CLASSIFIER = fitted_with([[0.0]])
REGRESSOR = fitted_with([[0.0]], ReBatchCNNRegressor())


@pytest.mark.parametrize("repeats, strategy", [(0, "max-loss"), (1, "min-loss")])
def test_of_a_real_training(cancer, repeats, strategy):
    X, y = cancer
    model = ReBatchCNNClassifier(repeats=repeats, strategy=strategy, **SMALL)
    dynamics = training_dynamics(model.fit(X, y))
    assert dynamics.index.equals(pd.RangeIndex(len(X)))
    # The first epoch's order holds every sample once, each later one chooses B.
    assert dynamics["times_chosen"].sum() == 2 * model.n_redistributed_
    chosen = dynamics["times_chosen"] == 2
    sign = 1 if strategy == "max-loss" else -1
    high = dynamics["mean_loss"][chosen].mean() > dynamics["mean_loss"].mean()
    assert chosen.any() and high == (sign > 0)
    # The last recorded losses are those of the fitted network.
    label = np.searchsorted(model.classes_, y)
    right = model.predict_proba(X)[np.arange(len(X)), label] > 0.5
    assert dynamics["first_learned"].notna()[right].all()


def test_wrong_labels_have_the_lower_quality(cancer):
    X, y = cancer
    flipped = np.random.default_rng(0).random(len(y)) < 0.15
    model = ReBatchCNNClassifier(ratio=0, **{**SMALL, "max_epochs": 10})
    dynamics = training_dynamics(model.fit(X, np.where(flipped, 1 - y, y)))
    assert roc_auc_score(~flipped, dynamics["label_quality"]) > 0.9  # by chance .5


def test_index_of_the_user_s_frame_is_kept(cancer):
    X, y = cancer
    frame = pd.DataFrame(X, index=[f"row {i}" for i in range(len(X))][::-1])
    frame.columns = frame.columns.astype(str)
    model = ReBatchCNNClassifier(**SMALL).fit(frame, y)
    dynamics = training_dynamics(model)
    assert dynamics.index.equals(frame.index)
    plain = training_dynamics(ReBatchCNNClassifier(**SMALL).fit(X, y))
    assert dynamics.reset_index(drop=True).equals(plain)


def test_a_pipeline_gives_what_its_last_step_gives(cancer):
    pipeline = make_pipeline(StandardScaler(), ReBatchCNNClassifier(**SMALL))
    dynamics = training_dynamics(pipeline.fit(*cancer))
    assert dynamics.equals(training_dynamics(pipeline[-1]))


def test_several_networks_are_averaged(cancer):
    model = ReBatchCNNClassifier(**{**SMALL, "n_networks": 3}).fit(*cancer)
    dynamics = training_dynamics(model)
    expected = model.recorded_losses_.mean(axis=0, dtype=float)
    assert dynamics["mean_loss"].to_numpy() == pytest.approx(expected)
    assert dynamics["times_chosen"].sum() == pytest.approx(2 * model.n_redistributed_)


def test_rows_set_aside_are_there_but_never_chosen(cancer):
    X, y = cancer
    model = ReBatchCNNClassifier(ratio=10, repeats=0, early_stopping=True, **SMALL)
    dynamics = training_dynamics(model.fit(X, y))
    assert len(dynamics) == len(X)
    assert (dynamics["times_chosen"] == 0).sum() >= len(X) // 5
    assert (dynamics["mean_loss"] > 0).all()


def test_regressor_of_several_targets():
    X, y = load_diabetes(return_X_y=True)
    model = ReBatchCNNRegressor(**SMALL)
    dynamics = training_dynamics(model.fit(X[:100], np.c_[y, -y][:100]))
    assert dynamics["label_quality"].between(0, 1).all()
    assert len(dynamics) == 100


def test_the_frame_is_the_user_s_own():
    model = fitted_with([[0.5, 0.6]])
    dynamics = training_dynamics(model)
    dynamics.loc[:, ["confidence", "times_chosen"]] = 7
    again = training_dynamics(model)
    assert again["times_chosen"].tolist() == [0, 1]
    assert again["label_quality"].to_numpy() == pytest.approx(np.exp([-0.5, -0.6]))
    assert dynamics["label_quality"].equals(again["label_quality"])


def test_not_fitted():
    with pytest.raises(NotFittedError):
        training_dynamics(ReBatchCNNClassifier())
    with pytest.raises(NotFittedError):
        training_dynamics(make_pipeline(StandardScaler(), ReBatchCNNClassifier()))


def test_fitted_without_recording(cancer):
    model = ReBatchCNNClassifier(max_epochs=1).fit(*cancer)
    with pytest.raises(ValueError, match="record_losses=True"):
        training_dynamics(model)


def test_another_kind_of_estimator(cancer):
    with pytest.raises(TypeError, match="LogisticRegression"):
        training_dynamics(LogisticRegression().fit(*cancer))


def test_a_pipeline_without_steps_is_refused():
    with pytest.raises(TypeError, match="must be a ReBatchCNNClassifier"):
        training_dynamics(Pipeline([]))
