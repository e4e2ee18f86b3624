"""What all ways to fit share: the rollback, and what a later fit takes over."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.estimators import assert_same_bits, make, make_cv, make_data
from skorch.callbacks import Callback

from skrebatch import FusedGridSearchCV, Strategy, fit_fused, load_model, save_model


class Failing(torch.optim.SGD):
    """An optimizer that fails where a network has more than 1000 parameters."""

    def step(self, closure=None):
        if self.param_groups[0]["params"][0].shape[-1] > 1000:
            raise RuntimeError("out of memory")
        return super().step(closure)


class FailingAt(torch.optim.SGD):
    """An optimizer that fails at one learning rate, once it steps."""

    def step(self, closure=None):
        # The check of the parameters steps a few numbers.
        is_network = self.param_groups[0]["params"][0].shape[-1] > 60
        if is_network and any(group["lr"] == 0.5 for group in self.param_groups):
            raise RuntimeError("out of memory")
        return super().step(closure)


class Counter(Callback):
    """Count epochs."""

    def __init__(self):
        self.n = 0

    def on_epoch_end(self, net, **kwargs):
        self.n += 1


class Noted(Strategy):
    """Note how many samples each epoch is to choose."""

    def __init__(self, notes=None):
        self.notes = notes

    def __sklearn_clone__(self):
        return Noted(self.notes)

    def plan(self, losses, epoch):
        self.notes.append(epoch.n_chosen)
        return np.argsort(losses)[: epoch.n_chosen]


def test_an_error_of_the_training_leaves_every_estimator_as_it_was():
    X, y = make_data()
    models = [
        make(optimizer=Failing, hidden_size=2, record_losses=True, random_state=seed)
        for seed in range(2)
    ]
    fit_fused(models, X, y)
    before = [dict(vars(model)) for model in models]
    for model in models:
        model.set_params(hidden_size=512)
    more = np.hstack([X, X])
    with pytest.raises(RuntimeError, match="out of memory"):
        fit_fused(models, more, 2 * y)
    for model, state in zip(models, before, strict=True):
        assert vars(model) == {**state, "hidden_size": 512}
        with pytest.raises(RuntimeError, match="out of memory"):
            model.fit(more, 2 * y)
        assert vars(model) == {**state, "hidden_size": 512}


def test_one_that_fails_in_a_stack_leaves_its_neighbours_their_result():
    X, y = make_data()
    params = {"optimizer": FailingAt, "dtype": "float64", "record_losses": True}
    lrs = 0.01, 0.5, 0.1
    models = [make(lr=lr, **params) for lr in lrs]
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        fit_fused(models, X, y)
    assert "estimators[1]; 2 of the 3" in caught.value.__notes__[0]
    assert not hasattr(models[1], "module_")
    for i in (0, 2):
        alone = make(lr=lrs[i], **params).fit(X, y)
        assert len(models[i].loss_curve_) == len(alone.loss_curve_)
        np.testing.assert_allclose(
            models[i].recorded_losses_, alone.recorded_losses_, rtol=1e-6
        )
        np.testing.assert_array_equal(models[i].times_chosen_, alone.times_chosen_)


def test_a_search_scores_a_candidate_that_fails_as_an_error():
    X, y = make_data()
    search = FusedGridSearchCV(
        make(optimizer=FailingAt), {"lr": [0.01, 0.5, 0.1]}, cv=2, refit=False
    )
    with pytest.warns(match="fits failed"), pytest.warns(match="non-finite"):
        search.fit(X, y)
    failed = np.isnan(search.cv_results_["mean_test_score"])
    assert failed.tolist() == [False, True, False]


def test_callbacks_set_between_partial_fits_are_called_from_then_on():
    X, y = make_data()
    counter = Counter()
    model = make().partial_fit(X, y)
    model.set_params(callbacks=[counter]).partial_fit(X, y).partial_fit(X, y)
    assert counter.n == 2
    model.set_params(callbacks=None).partial_fit(X, y)
    assert counter.n == 2


@pytest.mark.parametrize("n_networks", [1, 2])
def test_partial_fit_begins_with_the_parameters_of_the_module(n_networks):
    X, y = make_data()
    model = make(n_networks=n_networks, optimizer="sgd", lr=1e-9).fit(X, y)
    with torch.no_grad():
        for parameter in model.module_.parameters():
            parameter.zero_()
    np.testing.assert_allclose(model.partial_fit(X, y).predict_proba(X), 0.5, atol=1e-6)


@pytest.mark.parametrize("how", ["warm start", "partial_fit"])
def test_a_ratio_schedule_that_is_over_stays_over(how):
    X, y = make_data()
    notes = []
    model = make(
        strategy=Noted(notes),
        ratio=0.5,
        ratio_schedule="linear",
        max_epochs=5,
        warm_start=True,
    ).fit(X, y)
    assert notes == sorted(set(notes)) and len(notes) == 4
    whole = notes[-1]
    notes.clear()
    if how == "warm start":
        model.set_params(max_epochs=7).fit(X, y)
        assert notes == [whole] * 7
    else:
        model.partial_fit(X, y)
        assert notes == [whole]


def fit_second(model, X, y):
    """Fit side by side with another estimator, which checks the same data first."""
    fit_fused([make(), model], X, y)


FITS = {
    "fit": (make, lambda model, X, y: model.fit(X, y)),
    "fit_fused": (make, fit_second),
    "CV form": (make_cv, lambda model, X, y: model.fit(X, y)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("task", ["binary", "multi-label"])
@pytest.mark.parametrize("way", FITS)
def test_nothing_of_an_earlier_fit_survives(way, task, tmp_path):
    create, fit = FITS[way]
    X, y = make_data(task)
    names = [f"row {i}" for i in range(len(X))]
    model = create(max_epochs=2)
    own = getattr(model, "estimator", model)
    before = own.get_params()
    own.set_params(record_losses=True, early_stopping=True)
    fit(model, pd.DataFrame(X, names, list("abcde")), y)
    own.set_params(**before)
    other = X[:30, :4], (X[:30, 0] > 0).astype(int)
    fit(model, *other)
    new = create(max_epochs=2)
    fit(new, *other)
    assert vars(model).keys() == vars(new).keys()
    best, expected = (getattr(m, "best_estimator_", m) for m in (model, new))
    assert vars(best).keys() == vars(expected).keys()
    assert_same_bits(best, expected)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model").predict(other[0])
    np.testing.assert_array_equal(loaded, model.predict(other[0]))
