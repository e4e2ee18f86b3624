"""Fitted estimators as plain values and arrays, and back.

This is what model files hold, and what other programs store that save without code.
"""

from __future__ import annotations

import json
import os
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from skorch.history import History

from skrebatch._engine.nn.architecture import Architecture, build_architecture
from skrebatch._engine.nn.tabular_cnn import TabularCNN, as_module, networks_of
from skrebatch._engine.serialization.json_text import (
    MAX_BYTES,
    MAX_VALUES,
    count_values,
    parse,
    to_text,
)
from skrebatch._engine.serialization.json_values import (
    Arrays,
    from_plain,
    is_plain,
    to_plain,
)
from skrebatch._utils.extras import import_extra
from skrebatch._utils.settings import with_default_settings
from skrebatch._utils.user_warnings import warn_user
from skrebatch.estimators._fit_data import FitState

# The names in a state for programs that save without code.
PLAIN_STATE = {"plain", "arrays", "other"}

# The fitted attributes that are kept, and their types. The networks are kept apart.
# `recorded_losses_` and similar attributes are restored from `_logs`.
_LEARNED: dict[str, Any] = {
    "n_features_in_": Integral,
    "feature_names_in_": np.ndarray,
    "classes_": np.ndarray,
    "n_outputs_": Integral,
    "out_activation_": str,
    "_is_1d": bool,
    "target_mean_": np.ndarray,
    "target_scale_": np.ndarray,
    "n_iter_": Integral,
    "loss_curve_": list,
    "validation_loss_curve_": list,
    "history_": History,
    "sample_losses_": np.ndarray,
    "sample_index_": object,
    "recorded_weights_": np.ndarray,
    "oof_decision_function_": dict,
    "oof_prediction_": dict,
    "oof_score_": Real,
    "chosen_": np.ndarray | list,
    "chosen_by_network_": list,
    "n_redistributed_": Integral,
    "batch_size_": Integral,
    "interrupted_": bool,
    "_split_seed": Integral,
    "_data_seen": str | None,
    "_course": Integral,
    "_rngs": list,
    "_rates": list,
    "_memories": list,
    "_logs": list,
}
# The names in files of the state that a fit leaves for the next one.
_STATE = {
    "_split_seed": "split_seed",
    "_data_seen": "data_hash",
    "_course": "max_epochs",
    "_rngs": "rngs",
    "_rates": "lr_schedules",
    "_memories": "selection_states",
    "_logs": "logs",
}


# Attributes that are restored from others, or made again by the next training.
_RESTORED = {
    *("module_", "net_", "_fit_state"),
    *("recorded_epochs_", "recorded_losses_", "recorded_choices_", "times_chosen_"),
}
# Arrays with rows of NaN, which arrays in files do not have.
_MAY_BE_MISSING = {"oof_decision_function_", "oof_prediction_"}


def learned_by(estimator: Any) -> dict[str, Any]:
    """Return what a fitted estimator has learned, except its networks, by name.

    Warns
    -----
    UserWarning
        If `sample_index_` could not be restored. It is left out.
    """
    attributes, fit_state = estimator.__rebatch_getstate__()
    attributes |= _state_to_names(fit_state)
    learned = {name: attributes[name] for name in _LEARNED if name in attributes}
    for name in _MAY_BE_MISSING & learned.keys():
        learned[name] = _without_missing_rows(learned[name])
    if "sample_index_" in learned and not _can_keep(learned["sample_index_"]):
        index = learned.pop("sample_index_")
        warn_user(
            f"The index of the rows ({type(index).__name__} of dtype "
            f"{getattr(index, 'dtype', None)}) can't be saved, so `sample_index_` is "
            "left out. The training_dynamics of the loaded estimator are numbered "
            "from 0."
        )
    return learned


def describe(
    parameters: dict[str, Any], learned: dict[str, Any], module: Any, arrays: Arrays
) -> dict[str, Any]:
    """Convert a fitted estimator to JSON values, and add its arrays to `arrays`.

    Parameters
    ----------
    parameters : dict of str to object
    learned : dict of str to object
        As :func:`learned_by` returns it.
    module : TabularCNN or Ensemble
    arrays : dict of str to ndarray

    Returns
    -------
    content : dict of str to object

    Raises
    ------
    ValueError
        If a value can't be converted, or an array contains NaN or infinity.
    """
    content: dict[str, Any] = {
        "parameters": parameters_to_plain(parameters, arrays),
        "learned": learned_to_plain(learned, arrays),
    }
    networks = networks_of(module)
    content["sizes"] = sizes_of(networks[0].architecture)
    content["n_networks"] = len(networks)
    for k, network in enumerate(networks):
        for name, tensor in network.state_dict().items():
            values = tensor.cpu().numpy()
            arrays[f"network.{k}.{name}"] = np.asarray(values, order="C")
    _check_finite(arrays)
    return content


def restore(cls: type[Any], content: dict[str, Any], arrays: Arrays) -> Any:
    """Return the estimator that :func:`describe` has converted.

    Parameters
    ----------
    cls : type
        Class of the estimator.
    content : dict of str to object
    arrays : dict of str to ndarray
        The arrays; they are removed.

    Returns
    -------
    estimator : BaseReBatchCNN

    Raises
    ------
    Exception
        Any exception, if the content is not a result of :func:`describe`.
    """
    _check_finite(arrays)
    estimator = build_unfitted(cls, content, arrays)
    learned = restore_learned(content["learned"], _LEARNED, arrays)
    sizes, n_networks = content["sizes"], content["n_networks"]
    n_layers = len(sizes["conv_channels"]) + len(sizes["hidden_layers"])
    if not 1 <= n_networks <= len(arrays) or n_layers > len(arrays):
        raise ValueError("the tensors do not match the networks")
    architecture = build_architecture(**sizes)
    networks = [
        _build_network(architecture, arrays, f"network.{k}.") for k in range(n_networks)
    ]
    if arrays:
        raise ValueError(f"the tensor {min(arrays)} is not used")
    if is_classifier(estimator):
        # Files written before multi-label classification do not contain them.
        is_binary = architecture.n_outputs == 1
        learned.setdefault("n_outputs_", architecture.n_outputs)
        learned.setdefault("out_activation_", "logistic" if is_binary else "softmax")
    _check_fit(estimator, learned, architecture, len(networks))
    state = {_STATE[name]: learned.pop(name) for name in _STATE if name in learned}
    for name in _MAY_BE_MISSING & learned.keys():
        learned[name] = _with_missing_rows(learned[name], learned["sample_losses_"])
    learned["module_"] = as_module(networks)
    estimator.__rebatch_setstate__(learned, FitState(**state))
    return estimator


@with_default_settings
def to_plain_state(estimator: Any) -> dict[str, Any]:
    """Return a state of text and arrays for programs that save without code.

    Parameters
    ----------
    estimator : BaseReBatchCNN
        Fitted or not.

    Returns
    -------
    state : dict
        "plain" is text, "arrays" a dict of arrays, and "other" has the attributes that
        these can't hold, such as callbacks, as they are.
    """
    arrays: Arrays = {}
    parameters = estimator.get_params(deep=False)
    plain = {name: value for name, value in parameters.items() if is_plain(value)}
    kept = set(plain)
    content: dict[str, Any] = {}
    if hasattr(estimator, "module_"):
        learned = learned_by(estimator)
        plain_learned = {n: value for n, value in learned.items() if is_plain(value)}
        content = describe(plain, plain_learned, estimator.module_, arrays)
        kept |= _RESTORED | (_LEARNED.keys() - (learned.keys() - plain_learned.keys()))
    else:
        content["parameters"] = {n: to_plain(v, arrays, n) for n, v in plain.items()}
    other = {name: v for name, v in vars(estimator).items() if name not in kept}
    return {"plain": to_text(content), "arrays": arrays, "other": other}


@with_default_settings
def from_plain_state(cls: type[Any], state: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of which :func:`to_plain_state` has made a state."""
    content, arrays = json.loads(state["plain"]), dict(state["arrays"])
    build = restore if "learned" in content else build_unfitted
    return vars(build(cls, content, arrays)) | state["other"]


def _check_finite(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"{name} contains NaN or infinity, which can't be saved without code."
            )


def _state_to_names(state: FitState) -> dict[str, Any]:
    """Return a fit's state by the names that it has in files.

    Plans and schedules of parameters that can't be saved are left out: they hold only
    for a training with the same parameters, which a saved estimator no longer has.
    """
    values = {name: getattr(state, field) for name, field in _STATE.items()}
    values["_rates"] = [s if is_plain(s) else None for s in state.lr_schedules]
    values["_memories"] = [
        s if is_plain(s) else (s[0], None, None) for s in state.selection_states
    ]
    return {name: value for name, value in values.items() if value is not None}


def parameters_to_plain(parameters: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    """Convert parameters to JSON values, and add their arrays to `arrays`."""
    return {n: _parameter_to_plain(n, v, arrays) for n, v in parameters.items()}


def _parameter_to_plain(name: str, value: Any, arrays: Arrays) -> Any:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    try:
        return to_plain(value, arrays, name)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{error} Before saving, set the parameter to the value that the loaded "
            f"estimator should have, with `set_params({name}=...)`; this does not "
            "change the fitted attributes. Alternatively, pickle the estimator."
        ) from error


def learned_to_plain(learned: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    """Convert fitted attributes to JSON values, and add their arrays to `arrays`."""
    return {n: _learned_to_plain(n, v, arrays) for n, v in learned.items()}


def _learned_to_plain(name: str, value: Any, arrays: Arrays) -> Any:
    try:
        return to_plain(value, arrays, name)
    except ValueError as error:
        raise ValueError(f"{error} Pickle the estimator instead.") from error


def _without_missing_rows(values: np.ndarray) -> dict[str, Any]:
    """Return the rows of an array that are not NaN, and what restores the others."""
    rows = np.flatnonzero(~np.isnan(values.reshape(len(values), -1)[:, 0]))
    return {"n_rows": len(values), "rows": rows, "values": values[rows]}


def _with_missing_rows(parts: dict[str, Any], per_row: np.ndarray) -> np.ndarray:
    """Restore an array from what :func:`_without_missing_rows` returned."""
    rows, values = parts["rows"], parts["values"]
    if parts["n_rows"] != len(per_row):
        raise ValueError("the out-of-fold predictions are not those of the rows")
    restored = np.full((len(per_row), *values.shape[1:]), np.nan)
    restored[rows] = values
    return restored


def _can_keep(index: Any) -> bool:
    """Return whether an index comes back equal, and is not too large as text."""
    arrays: Arrays = {}
    try:
        text = to_text(to_plain(index, arrays, "sample_index_"))
        back = from_plain(parse(text), arrays)
        testing = import_extra("pandas.testing", "The index of the rows")
        testing.assert_index_equal(back, index, exact=True)
    except Exception:  # of a time zone or type that pandas can't make from its name
        return False
    return len(text) < MAX_BYTES / 4 and count_values(text) < MAX_VALUES / 2


def sizes_of(architecture: Architecture) -> dict[str, Any]:
    """Return the arguments of :func:`build_architecture` for an architecture."""
    blocks = architecture.blocks
    paddings = {block.left for block in blocks} | {block.right for block in blocks}
    return {
        "n_features": architecture.n_features,
        "n_outputs": architecture.n_outputs,
        "conv_channels": [block.out_channels for block in blocks],
        "kernel_size": [block.kernel_size for block in blocks],
        "pool_size": [block.pool_size for block in blocks],
        "pool_stride": [block.pool_stride for block in blocks],
        "padding": paddings.pop() if len(paddings) == 1 else "same",
        "hidden_layers": list(architecture.hidden_sizes),
        "batch_norm": architecture.batch_norm,
        "dropout": architecture.dropout,
        "variable_length": architecture.variable_length,
        "projection": architecture.projection,
        "clips_inputs": architecture.clips_inputs,
    }


def build_unfitted(cls: type[Any], content: dict[str, Any], arrays: Arrays) -> Any:
    """Return an estimator with the parameters in `content`."""
    plain = content["parameters"].items()
    parameters = {name: from_plain(value, arrays) for name, value in plain}
    estimator = cls(**parameters)
    if "input_clip" not in parameters and hasattr(estimator, "input_clip"):
        # Files written before there was clipping do not contain it.
        estimator.input_clip = None
    return estimator


def restore_learned(
    plain: dict[str, Any], types: dict[str, Any], arrays: Arrays
) -> dict[str, Any]:
    """Return fitted attributes from JSON values; raise TypeError for other types."""
    learned = {name: from_plain(value, arrays) for name, value in plain.items()}
    for name, value in learned.items():
        if not isinstance(value, types[name]):
            raise TypeError(f"{name} has type {type(value).__name__}")
    return learned


def _build_network(
    architecture: Architecture, arrays: Arrays, prefix: str
) -> TabularCNN:
    """Build a network from the tensors whose names start with a prefix."""
    network = TabularCNN.from_architecture(architecture, device="meta")
    state = {}
    for name, expected in network.state_dict().items():
        tensor = torch.from_numpy(arrays.pop(prefix + name))
        is_float = tensor.is_floating_point()
        if tensor.shape != expected.shape or is_float != expected.is_floating_point():
            raise ValueError(
                f"{prefix}{name} has shape {tuple(tensor.shape)} and dtype "
                f"{tensor.dtype}"
            )
        state[name] = tensor
    dtypes = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    if dtypes not in ({torch.float32}, {torch.float64}):
        raise ValueError(f"the tensors have dtypes {dtypes}")
    network.load_state_dict(state, assign=True)
    if architecture.clips_inputs and not network.input_clip > 0:
        raise ValueError(f"{prefix}input_clip is {network.input_clip}")
    return network.eval()


def _check_fit(
    estimator: Any,
    learned: dict[str, Any],
    architecture: Architecture,
    n_networks: int,
) -> None:
    """Raise ValueError if the fitted attributes do not match the networks."""
    n_outputs = architecture.n_outputs
    if learned["n_features_in_"] != architecture.n_features:
        raise ValueError("n_features_in_ does not match the networks")
    if learned["n_outputs_"] != n_outputs:
        raise ValueError("n_outputs_ does not match the networks")
    for name in ("_rngs", "_rates", "_memories", "_logs"):
        if len(learned[name]) != n_networks:
            raise ValueError(f"{name} does not have {n_networks} entries")
    if is_classifier(estimator):
        shapes = {"classes_": (max(2, n_outputs),)}
        possible = ("logistic", "softmax") if n_outputs > 2 else ("logistic",)
        if learned["out_activation_"] not in possible:
            raise ValueError("out_activation_ does not match the networks")
    else:
        shapes = {"target_mean_": (n_outputs,), "target_scale_": (n_outputs,)}
    index = learned.get("sample_index_", learned["sample_losses_"])
    if len(index) != len(learned["sample_losses_"]):
        raise ValueError("sample_index_ does not have an entry for each row")
    if "feature_names_in_" in learned:
        shapes["feature_names_in_"] = (architecture.n_features,)
    if "recorded_weights_" in learned:
        shapes["recorded_weights_"] = learned["sample_losses_"].shape
    for name, shape in shapes.items():
        if learned[name].shape != shape:
            raise ValueError(f"{name} does not have shape {shape}")
