"""Model files: fitted estimators in safetensors files, which contain no code."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import sklearn
import torch
from sklearn.utils.validation import check_is_fitted
from skorch.history import History

from skrebatch._engine.nn.architecture import Architecture, build_architecture
from skrebatch._engine.nn.tabular_cnn import TabularCNN, as_module, networks_of
from skrebatch._engine.serialization.atomic_write import replace_file
from skrebatch._engine.serialization.json_values import (
    Arrays,
    from_plain,
    is_plain,
    to_plain,
)
from skrebatch._utils.extras import import_extra
from skrebatch._utils.settings import with_default_settings
from skrebatch._utils.user_warnings import warn_user
from skrebatch.estimators._base import BaseReBatchCNN
from skrebatch.estimators._classifier import ReBatchCNNClassifier
from skrebatch.estimators._preparation import FitState
from skrebatch.estimators._regressor import ReBatchCNNRegressor
from skrebatch.exceptions import ModelFileError
from skrebatch.model_selection._estimators_cv import (
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressorCV,
)

FORMAT_VERSION = 1

_KEY = "skrebatch"  # key of the metadata in the header of a file
_NO_DIGEST = "0" * 64
# Limits on the memory that is needed to read the header of any file.
_MAX_HEADER = 4 * 2**20
_MAX_VALUES = 250_000
_CLASSES: dict[str, type[BaseReBatchCNN]] = {
    cls.__name__: cls
    for cls in (
        ReBatchCNNClassifier,
        ReBatchCNNRegressor,
        ReBatchCNNClassifierCV,
        ReBatchCNNRegressorCV,
    )
}
# The fitted attributes in a model file and their types. The networks are saved apart.
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
    "oof_decision_function_": dict,
    "oof_prediction_": dict,
    "oof_score_": Real,
    "chosen_": np.ndarray | list,
    "chosen_by_network_": list,
    "n_redistributed_": Integral,
    "batch_size_": Integral,
    "ratio_": Real,
    "best_params_": dict,
    "best_score_": Real,
    "cv_results_": dict,
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


# Arrays with rows of NaN, which arrays in files do not have.
_MAY_BE_MISSING = {"oof_decision_function_", "oof_prediction_"}


@with_default_settings
def save_model(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator in a file that contains no code.

    The file has the safetensors format [1]_ and contains only numbers and text: the
    parameters, the networks and the fitted attributes. The loaded estimator returns
    bit-identical predictions and can continue training. Only `net_` is not saved; the
    next training creates it again. Writing is atomic: if it fails, an existing file is
    left unchanged.

    Parameters
    ----------
    estimator : ReBatchCNNClassifier, ReBatchCNNRegressor or one of their CV forms
        Fitted estimator. To save a pipeline or a search, pass its last step or its
        `best_estimator_`.
    path : str or path-like
        Path of the file. An existing file is replaced.

    Raises
    ------
    TypeError
        If the estimator is not one of the classes above.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ValueError
        If a parameter can't be saved, or a fitted attribute was changed so that
        :func:`load_model` would refuse it; no file is written. Numbers, text,
        strategies of this package and classes of :mod:`torch.optim` can be saved.
        Callbacks, functions, user-defined strategies and optimizers, a
        ``RandomState`` and splitters can't.
    OSError
        If the file can't be written.
    ImportError
        If safetensors is not installed; it is part of the extra ``files``.

    Warns
    -----
    UserWarning
        If the file can't hold `sample_index_`, for example an index of objects other
        than text and numbers. It is left out.

    See Also
    --------
    load_model : Loads the file.
    to_onnx : Exports an estimator for prediction without Python.

    References
    ----------
    .. [1] https://huggingface.co/docs/safetensors

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from skrebatch import ReBatchCNNClassifier, load_model, save_model
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ReBatchCNNClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, Path(folder, "iris.safetensors"))
    ...     twin = load_model(Path(folder, "iris.safetensors"))
    >>> bool((twin.predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    safetensors = import_extra("safetensors.numpy", "save_model", "files")
    check_savable(estimator, "save_model")
    attributes, fit_state = estimator.__rebatch_getstate__()
    state = {**attributes, **_state_to_names(fit_state)}
    for name in _MAY_BE_MISSING & state.keys():
        state[name] = _without_missing_rows(state[name])
    if "sample_index_" in state and not _can_keep(state["sample_index_"]):
        index = state.pop("sample_index_")
        warn_user(
            f"A model file can't hold this index of the rows ({type(index).__name__} "
            f"of dtype {getattr(index, 'dtype', None)}), so `sample_index_` is left "
            "out. The training_dynamics of the loaded estimator are numbered from 0."
        )
    arrays: Arrays = {}
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "sha256": _NO_DIGEST,
        "class": type(estimator).__name__,
        "versions": package_versions(),
        "parameters": {
            name: _parameter_to_plain(name, value, arrays)
            for name, value in estimator.get_params(deep=False).items()
        },
        "learned": {
            name: _learned_to_plain(name, state[name], arrays)
            for name in _LEARNED
            if name in state
        },
    }
    networks = networks_of(estimator.module_)
    content["sizes"] = _sizes_of(networks[0].architecture)
    content["n_networks"] = len(networks)
    for k, network in enumerate(networks):
        for name, tensor in network.state_dict().items():
            values = tensor.cpu().numpy()
            arrays[f"network.{k}.{name}"] = np.asarray(values, order="C")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"{name} contains NaN or infinity, which can't be saved in a model "
                "file."
            )
    text = _to_text(content)
    data = safetensors.save(arrays, {_KEY: text})
    end = 8 + int.from_bytes(data[:8], "little")
    if end - 8 > _MAX_HEADER or _count_values(data[8:end].decode()) > _MAX_VALUES:
        parts = {**content["parameters"], **content["learned"]}
        largest = max(parts, key=lambda name: len(_to_text(parts[name])))
        raise ValueError(
            f"The header of the model file is too large ({end - 8} bytes), mostly "
            f"because of `{largest}`. Shorten it, or pickle the estimator."
        )
    try:
        _build(_parse(text), arrays)
    except Exception as error:  # an attribute may have been set to anything
        raise ValueError(
            "The estimator can't be saved, because load_model would refuse the file: "
            f"{error}. Was a fitted attribute changed after the fit?"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    start = data[:end].replace(_mark(_NO_DIGEST), _mark(digest))
    replace_file(path, (start, memoryview(data)[end:]))


@with_default_settings
def load_model(path: str | os.PathLike[str]) -> Any:
    """Load an estimator saved by :func:`save_model`.

    Nothing in the file is executed, and the sizes given in the file are checked before
    memory is allocated. This also holds for files from untrusted sources. The networks
    are loaded to the CPU.

    Parameters
    ----------
    path : str or path-like
        Path of the file.

    Returns
    -------
    estimator : ReBatchCNNClassifier, ReBatchCNNRegressor or one of their CV forms
        The fitted estimator.

    Raises
    ------
    ModelFileError
        If the file is not a model file, has a newer format, or is damaged.
    OSError
        If the file can't be read.
    ImportError
        If safetensors is not installed; it is part of the extra ``files``. Also if the
        estimator has a `sample_index_` and pandas is not installed; it is part of the
        extra ``plot``.

    See Also
    --------
    save_model : Saves an estimator; with an example.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skrebatch import ModelFileError, load_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "model.safetensors")
    ...     _ = path.write_bytes(b"no model")
    ...     try:
    ...         load_model(path)
    ...     except ModelFileError as error:
    ...         print(str(error).split(": ")[-1])
    it does not start with a header. load_model reads only files of save_model.
    """
    content, arrays = _read(Path(path))
    try:
        return _build(content, arrays)
    except ImportError:  # pandas is needed for the index of the rows
        raise
    except Exception as error:  # a forged file can cause any error
        reason = (
            f"{type(error).__name__}: {str(error).rstrip('.')} (written with "
            f"{content.get('versions')!s:.100}, read with {package_versions()})"
        )
        _refuse_damaged(path, reason, error)


def package_versions() -> dict[str, str]:
    """Return the versions of this package and of its main dependencies."""
    package = sys.modules[__name__.partition(".")[0]]  # an import would be circular
    packages = {"skrebatch": package, "scikit-learn": sklearn, "torch": torch}
    return {name: str(module.__version__) for name, module in packages.items()}


def check_savable(estimator: Any, user: str) -> None:
    """Raise an error if the estimator is not a fitted estimator of this package."""
    if type(estimator) not in _CLASSES.values():
        raise TypeError(
            f"{user} requires a fitted {', '.join(_CLASSES)}; for a pipeline or a "
            f"search, pass its last step or best_estimator_; got {estimator!r}."
        )
    check_is_fitted(estimator)


def _to_text(plain: Any) -> str:
    return json.dumps(plain, separators=(",", ":"), allow_nan=False)


def _can_keep(index: Any) -> bool:
    """Return whether an index comes back equal from a file, and fits in its header."""
    arrays: Arrays = {}
    try:
        text = _to_text(to_plain(index, arrays, "sample_index_"))
        back = from_plain(_parse(text), arrays)
        testing = import_extra("pandas.testing", "The index of the rows")
        testing.assert_index_equal(back, index, exact=True)
    except Exception:  # of a time zone or type that pandas can't make from its name
        return False
    return len(text) < _MAX_HEADER / 4 and _count_values(text) < _MAX_VALUES / 2


def _state_to_names(state: FitState) -> dict[str, Any]:
    """Return a fit's state by the names that it has in files.

    Plans and schedules of parameters that can't be saved are left out: they hold only
    for a training with the same parameters, which a saved estimator no longer has.
    """
    values = {name: getattr(state, field) for name, field in _STATE.items()}
    values["_rates"] = [own if is_plain(own) else None for own in state.lr_schedules]
    values["_memories"] = [
        own if is_plain(own) else (own[0], None, None) for own in state.selection_states
    ]
    return {name: value for name, value in values.items() if value is not None}


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


def _sizes_of(architecture: Architecture) -> dict[str, Any]:
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


def _mark(digest: str) -> bytes:
    """Return the digest as written in the header, where JSON is nested in JSON."""
    return rf"\"sha256\":\"{digest}\"".encode()


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Read a model file and verify that it is complete and unchanged."""
    safetensors = import_extra("safetensors.numpy", "load_model", "files")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        n = int.from_bytes(file.read(8), "little")
        if size < 8 or n > _MAX_HEADER:
            _refuse_foreign(path, "it does not start with a header")
        if n > size - 8:
            _refuse_damaged(path, f"the header has {n} bytes, but the file {size}")
        raw = file.read(n)
        try:
            header = _parse(raw.decode())
            content = _parse(header.pop("__metadata__")[_KEY])
            found, digest = content["format_version"], content["sha256"]
            end = max((v["data_offsets"][1] for v in header.values()), default=0)
        except Exception as error:
            _refuse_foreign(path, f"the header can't be read ({error!r:.200})", error)
        if type(found) is not int or found < 1:
            _refuse_foreign(path, f"the format version is {found!r:.200}")
        if found > FORMAT_VERSION:
            raise ModelFileError(
                f"{path} has format version {found}, but this version of skrebatch "
                f"supports only versions up to {FORMAT_VERSION}. Install a newer "
                "skrebatch, or save the model with this version."
            )
        if size != 8 + n + end:
            _refuse_damaged(path, f"its size of {size} bytes does not match the header")
        file.seek(0)
        data = file.read()
    mark = _mark(str(digest))
    blank = data[: 8 + n].replace(mark, _mark(_NO_DIGEST))
    hashed = hashlib.sha256(blank)
    hashed.update(memoryview(data)[8 + n :])
    if raw.count(mark) != 1 or hashed.hexdigest() != digest:
        _refuse_damaged(path, "its checksum does not match its content")
    try:
        arrays = safetensors.load(data)
    except Exception as error:
        _refuse_damaged(path, str(error), error)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            _refuse_damaged(path, f"the tensor {name} contains NaN or infinity")
    # The loaded arrays are read-only views of the bytes of the file.
    return content, {name: array.copy() for name, array in arrays.items()}


def _parse(text: str) -> Any:
    """Parse JSON of limited size, without NaN, infinity or duplicate names."""

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name occurs twice")
        return dict(pairs)

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not valid JSON")

    if _count_values(text) > _MAX_VALUES:
        raise ValueError("it contains too many values")
    return json.loads(text, object_pairs_hook=without_duplicates, parse_constant=refuse)


def _count_values(text: str) -> int:
    """Return an upper bound on the number of values in JSON text."""
    return sum(text.count(character) for character in "[{,")


def _build(content: dict[str, Any], arrays: Arrays) -> BaseReBatchCNN:
    """Build an estimator from the content of a file; raise an error if invalid."""
    plain = content["parameters"].items()
    parameters = {name: from_plain(value, arrays) for name, value in plain}
    estimator = _CLASSES[content["class"]](**parameters)
    plain = content["learned"].items()
    learned = {name: from_plain(value, arrays) for name, value in plain}
    for name, value in learned.items():
        if not isinstance(value, _LEARNED[name]):
            raise TypeError(f"{name} has type {type(value).__name__}")
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
    if isinstance(estimator, ReBatchCNNClassifier):
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
    if isinstance(estimator, ReBatchCNNClassifier):
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
    for name, shape in shapes.items():
        if learned[name].shape != shape:
            raise ValueError(f"{name} does not have shape {shape}")


def _refuse_foreign(path: Any, reason: str, error: Exception | None = None) -> NoReturn:
    raise ModelFileError(
        f"{path} is not a model file of skrebatch, or is damaged: {reason}. load_model "
        "reads only files of save_model."
    ) from error


def _refuse_damaged(path: Any, reason: str, error: Exception | None = None) -> NoReturn:
    raise ModelFileError(
        f"{path} is damaged: {reason}. Copy the original file again, or save the model "
        "again."
    ) from error
