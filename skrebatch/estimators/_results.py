"""The fitted attributes of an estimator, from the networks that were trained."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from skrebatch._engine.nn.tabular_cnn import as_module
from skrebatch._engine.training.early_stopping import mean_over_networks
from skrebatch._engine.training.members import Member
from skrebatch._utils.typing import Indices
from skrebatch.estimators._fit_data import FitState, PreparedFit
from skrebatch.sampling._loss_log import RECORDED

# Attributes that a fit which continues another one does not keep: those of
# record_losses, and of networks that hold out different rows.
_OF_ONE_FIT = {
    *("_fit_state", *RECORDED, "recorded_weights_", "sample_index_"),
    *("oof_decision_function_", "oof_prediction_", "oof_score_"),
}


def results_of(
    prepared: PreparedFit, before: dict[str, Any]
) -> tuple[dict[str, Any], FitState]:
    """Return the fitted attributes, and the state that a later fit continues.

    Parameters
    ----------
    prepared : PreparedFit
        The fit, after the training.
    before : dict of str to object
        The fitted attributes before it. A fit that continues another one keeps those
        that it does not set.
    """
    members = prepared.job.members
    first = members[0]
    networks = [member.network for member in members if member.network is not None]
    losses = [member.losses for member in members if member.losses is not None]
    chosen = [m.rows[m.selection.affected_samples] for m in members]
    trained = _mean_curve([member.curves["train_loss"] for member in members])
    validated = _mean_curve([member.curves["valid_loss"] for member in members])
    validated += [math.nan] * (len(trained) - len(validated))
    attributes: dict[str, Any] = {}
    if prepared.continues is not None:
        attributes = {n: v for n, v in before.items() if n not in _OF_ONE_FIT}
        curve = attributes["loss_curve_"]
        unknown = [math.nan] * len(curve)
        validated = attributes.pop("validation_loss_curve_", unknown) + validated
        trained = curve + trained
    attributes |= prepared.learned | {
        "module_": as_module(networks),
        "sample_losses_": np.mean(losses, axis=0),
        "chosen_": _chosen_by_most(chosen, members),
        "chosen_by_network_": chosen,
        "n_redistributed_": first.selection.n_chosen,
        "batch_size_": first.batch_size,
        "loss_curve_": trained,
        "n_iter_": len(trained),
    }
    if not np.isnan(validated).all():
        attributes["validation_loss_curve_"] = validated
    state = FitState(
        rngs=[member.selection.rng for member in members],
        lr_schedules=[member.lr_schedule for member in members],
        selection_states=[m.selection.warm_start_state for m in members],
        logs=[member.log for member in members],
        split_seed=prepared.split_seed,
        data_hash=prepared.data_hash,
        max_epochs=prepared.max_epochs,
    )
    return attributes | _out_of_fold(prepared), state


def _chosen_by_most(chosen: list[Indices], members: list[Member]) -> Indices:
    """Return the rows chosen by at least half of the networks that train on them."""
    if len(chosen) == 1:
        return chosen[0]
    size = 1 + max(int(member.rows.max()) for member in members)
    times, trained = np.zeros(size, dtype=np.intp), np.zeros(size, dtype=np.intp)
    for rows, member in zip(chosen, members, strict=True):
        times[rows] += 1
        trained[member.rows] += 1
    return np.flatnonzero((times > 0) & (2 * times >= trained))


def _out_of_fold(prepared: PreparedFit) -> dict[str, Any]:
    """Return the attributes of out-of-fold predictions, if networks hold rows out."""
    job = prepared.job
    if prepared.leaks:
        return {}
    n_samples = len(job.X[0])
    predictions = [m.held_out for m in job.members if m.held_out is not None]
    rows = [m.valid_rows for m in job.members if m.valid_rows is not None]
    if len(rows) < 2 or len(predictions) < 2 or rows[0][-1] >= n_samples:
        return {}
    means = mean_over_networks(predictions, rows, n_samples)
    return prepared.targets.out_of_fold(means, job.targets[0], prepared.sample_weight)


def _mean_curve(curves: list[list[float]]) -> list[float]:
    """Average curves epoch by epoch, over the networks that reached the epoch."""
    if len(curves) == 1:
        return curves[0]
    padded = itertools.zip_longest(*curves, fillvalue=math.nan)
    return [float(np.nanmean(values)) for values in padded]
