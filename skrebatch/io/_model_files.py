"""Model files: fitted estimators in safetensors files, which contain no code."""

from __future__ import annotations

import hashlib
import os
import sys
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import sklearn
import torch
from sklearn.utils.validation import check_is_fitted

from skrebatch._engine.serialization.atomic_write import replace_file
from skrebatch._engine.serialization.json_text import (
    MAX_BYTES,
    MAX_VALUES,
    count_values,
    parse,
    to_text,
)
from skrebatch._engine.serialization.json_values import Arrays
from skrebatch._utils.extras import import_extra
from skrebatch._utils.settings import with_default_settings
from skrebatch.estimators._base import BaseReBatchCNN
from skrebatch.estimators._classifier import ReBatchCNNClassifier
from skrebatch.estimators._plain_state import (
    build_unfitted,
    describe,
    learned_by,
    learned_to_plain,
    parameters_to_plain,
    restore,
    restore_learned,
)
from skrebatch.estimators._regressor import ReBatchCNNRegressor
from skrebatch.exceptions import ModelFileError
from skrebatch.model_selection._estimators_cv import (
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressorCV,
)

FORMAT_VERSION = 1

_KEY = "skrebatch"  # key of the metadata in the header of a file
_NO_DIGEST = "0" * 64
ESTIMATORS: dict[str, type[BaseReBatchCNN]] = {
    cls.__name__: cls for cls in (ReBatchCNNClassifier, ReBatchCNNRegressor)
}
CV_FORMS: dict[str, type[Any]] = {
    cls.__name__: cls for cls in (ReBatchCNNClassifierCV, ReBatchCNNRegressorCV)
}
# The fitted attributes of a CV form, besides the best estimator.
_CHOICE: dict[str, Any] = {
    "best_index_": Integral,
    "best_params_": dict,
    "best_score_": Real,
    "cv_results_": dict,
}


@with_default_settings
def save_model(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator in a file that contains no code.

    The file has the safetensors format [1]_ and contains only numbers and text: the
    parameters, the networks and the fitted attributes. The loaded estimator returns
    bit-identical predictions and can continue training. Only `net_` is not saved; it is
    created again when training continues. Writing is atomic: if it fails, an existing
    file is left unchanged.

    Parameters
    ----------
    estimator : ReBatchCNNClassifier, ReBatchCNNRegressor or one of their CV forms
        Fitted estimator. To save a pipeline or a search, pass its last step or its
        `best_estimator_`. skops [2]_ saves whole pipelines.
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
        than text and numbers. The file is then saved without `sample_index_`.

    See Also
    --------
    load_model : Loads the file.
    to_onnx : Exports an estimator for prediction without Python.

    References
    ----------
    .. [1] https://huggingface.co/docs/safetensors
    .. [2] https://skops.readthedocs.io

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
    advice = "save it whole with skops.io.dump"
    check_savable(estimator, "save_model", advice)
    arrays: Arrays = {}
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "sha256": _NO_DIGEST,
        "versions": package_versions(),
    }
    if type(estimator).__name__ in CV_FORMS:
        content["choice"] = _choice_to_plain(estimator, arrays)
        estimator = estimator.best_estimator_
        check_savable(estimator, "save_model", advice)
    parameters, learned = estimator.get_params(deep=False), learned_by(estimator)
    content["class"] = type(estimator).__name__
    content |= describe(parameters, learned, estimator.module_, arrays)
    text = to_text(content)
    data = safetensors.save(arrays, {_KEY: text})
    end = 8 + int.from_bytes(data[:8], "little")
    if end - 8 > MAX_BYTES or count_values(data[8:end].decode()) > MAX_VALUES:
        parts = {**content["parameters"], **content["learned"]}
        parts |= content.get("choice", {}).get("learned", {})
        largest = max(parts, key=lambda name: len(to_text(parts[name])))
        raise ValueError(
            f"The header of the model file is too large ({end - 8} bytes), mostly "
            f"because of `{largest}`. Shorten it, or pickle the estimator."
        )
    try:
        _build(parse(text), arrays)
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

    No code from the file is executed, and the sizes given in the file are checked
    before memory is allocated. Files from untrusted sources can therefore be loaded
    safely. The networks are loaded to the CPU.

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


def check_savable(estimator: Any, user: str, advice: str) -> None:
    """Raise an error if the estimator is not a fitted estimator of this package."""
    classes = ESTIMATORS | CV_FORMS
    if type(estimator) not in classes.values():
        raise TypeError(
            f"{user} requires a fitted {', '.join(classes)}; for a pipeline or a "
            f"search, pass its last step or best_estimator_, or {advice}; got "
            f"{estimator!r}."
        )
    check_is_fitted(estimator)


def _choice_to_plain(form: Any, arrays: Arrays) -> dict[str, Any]:
    """Return everything of a CV form except its best estimator."""
    parameters = form.get_params(deep=False)
    estimator = parameters.pop("estimator")
    if estimator is not None:
        estimator = {
            "class": type(estimator).__name__,
            "parameters": parameters_to_plain(estimator.get_params(False), arrays),
        }
    learned = {name: getattr(form, name) for name in _CHOICE}
    return {
        "class": type(form).__name__,
        "estimator": estimator,
        "parameters": parameters_to_plain(parameters, arrays),
        "learned": learned_to_plain(learned, arrays),
    }


def _build(content: dict[str, Any], arrays: Arrays) -> Any:
    """Build an estimator from the content of a file; raise an error if invalid."""
    if content["class"] in CV_FORMS:
        content = _upgrade_search(content)
    form = None
    if "choice" in content:
        form = _build_form(content["choice"], arrays)
    estimator = restore(ESTIMATORS[content["class"]], content, arrays)
    if form is None:
        return estimator
    form.best_estimator_ = estimator
    return form


def _build_form(choice: dict[str, Any], arrays: Arrays) -> Any:
    """Build a CV form, without its best estimator."""
    estimator = choice["estimator"]
    if estimator is not None:
        cls = ESTIMATORS[estimator["class"]]
        estimator = build_unfitted(cls, estimator, arrays)
    form = build_unfitted(CV_FORMS[choice["class"]], choice, arrays)
    form.estimator = estimator
    learned = restore_learned(choice["learned"], _CHOICE, arrays)
    if "best_index_" not in learned:  # in files of CV forms that searched
        ranks = learned["cv_results_"]["rank_test_score"]
        learned["best_index_"] = int(np.argmin(ranks))
    form.__dict__.update(learned)
    return form


def _upgrade_search(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content that a file of a CV form which searched would have today.

    The CV forms of these files had the parameters of the estimator as their own, and
    their best candidate was trained again on all rows.
    """
    parameters, learned = dict(content["parameters"]), dict(content["learned"])
    searched = {"ratio": "ratios", "strategy": "strategies", "repeats": "repeats"}
    grid = [[name, parameters.pop(list_)] for name, list_ in searched.items()]
    form = {"candidates": {"dict": grid}, "scoring": parameters.pop("scoring")}
    for name in ("cv", "n_jobs"):
        del parameters[name]
    del learned["ratio_"]
    chosen = {name: learned.pop(name) for name in _CHOICE if name in learned}
    name = content["class"].removesuffix("CV")
    return {
        **content,
        "class": name,
        "parameters": parameters | dict(chosen["best_params_"]["dict"]),
        "learned": learned,
        "choice": {
            "class": content["class"],
            "estimator": {"class": name, "parameters": parameters},
            "parameters": form,
            "learned": chosen,
        },
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
        if size < 8 or n > MAX_BYTES:
            _refuse_foreign(path, "it does not start with a header")
        if n > size - 8:
            _refuse_damaged(path, f"the header has {n} bytes, but the file {size}")
        raw = file.read(n)
        try:
            header = parse(raw.decode())
            content = parse(header.pop("__metadata__")[_KEY])
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
    # The loaded arrays are read-only views of the bytes of the file.
    return content, {name: array.copy() for name, array in arrays.items()}


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
