"""The base class of the classifier and the regressor."""

from __future__ import annotations

import copy
import copyreg
import secrets
from dataclasses import replace
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_X_y
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch.history import History

from skrebatch._engine.nn.prediction import Finish, predict
from skrebatch._engine.nn.tabular_cnn import (
    Ensemble,
    TabularCNN,
    networks_of,
)
from skrebatch._engine.tables.memmapped import MappedRows, map_rows
from skrebatch._engine.tables.sharded import ShardedRows
from skrebatch._engine.training.continuation import continue_training
from skrebatch._engine.training.net import ReBatchNet, make_net
from skrebatch._engine.training.progress import epoch_reports
from skrebatch._engine.training.run import Result, run_jobs
from skrebatch._utils.arrays import (
    as_array,
    keep_integers,
    refuse_missing,
    refuse_non_numbers,
    to_floats,
)
from skrebatch._utils.doc_links import LinkedMixin
from skrebatch._utils.dtypes import numpy_dtype, resolve_dtype
from skrebatch._utils.padding import row_lengths, to_width
from skrebatch._utils.rollback import CheckedParams, unchanged_on_error
from skrebatch._utils.settings import with_default_settings
from skrebatch._utils.user_warnings import warn_user
from skrebatch._utils.validation import (
    check_weights,
    locate_bad_columns,
)
from skrebatch.estimators._cv import make_splitting
from skrebatch.estimators._fit_data import (
    CheckedData,
    EarlierFit,
    FitState,
    PreparedFit,
)
from skrebatch.estimators._fitting import (
    fingerprint_of,
    interrupts_raise,
    open_checkpoint,
    train_and_finish,
)
from skrebatch.estimators._parameters import (
    Parameters,
    check_parameters,
    input_limit,
    stops_early,
)
from skrebatch.estimators._plain_state import (
    PLAIN_STATE,
    from_plain_state,
    to_plain_state,
)
from skrebatch.estimators._preparation import prepare_fit
from skrebatch.estimators._results import results_of
from skrebatch.estimators._scales import warn_of_scales
from skrebatch.estimators._sklearn_callbacks import (
    CallbackSupportMixin,
    EpochTasks,
    FitTask,
    with_callbacks,
)
from skrebatch.estimators._targets import Targets
from skrebatch.sampling._loss_log import recorded_attributes

# Attributes that scikit-learn's validate_data sets.
_SEEN = "n_features_in_", "feature_names_in_"


class BaseReBatchCNN(LinkedMixin, CallbackSupportMixin, CheckedParams, Parameters):
    """Base class of the classifier and the regressor.

    Other modules fit and save estimators through the methods ``__rebatch_*__``.
    """

    loss_curve_: list[float]
    module_: TabularCNN | Ensemble
    net_: ReBatchNet
    history_: History
    interrupted_: bool

    def _y_checks(self, y: Any) -> dict[str, Any]:
        """Return arguments of scikit-learn's validate_data for the targets."""
        raise NotImplementedError

    def _learn_targets(self, y: Any, earlier: Targets | None, classes: Any) -> Targets:
        """Return the targets learned from `y`, or those of the earlier fit."""
        raise NotImplementedError

    def _fitted_targets(self) -> Targets:
        """Return the targets of the last fit."""
        raise NotImplementedError

    def _check_parameters(self) -> None:
        """Raise an error for invalid parameters."""
        check_parameters(self)

    def _check_X(self, X: Any, variable_length: bool, **kwargs: Any) -> Any:
        """Validate X (and y); errors name the columns at fault."""
        dtype = numpy_dtype(resolve_dtype(kwargs.pop("dtype", self.dtype)))
        if "y" in kwargs:
            kwargs["y"] = keep_integers(as_array(kwargs["y"], "y"))
            refuse_missing(kwargs["y"])
            kwargs |= self._y_checks(kwargs["y"])
        if kwargs.get("y_numeric"):
            refuse_non_numbers(kwargs["y"], "y")
        if isinstance(X, ShardedRows):
            return self._check_sharded(X, variable_length, dtype, **kwargs)
        X = as_array(X, "X")
        refuse_non_numbers(X, "X")
        mapped = map_rows(X, dtype, variable_length)
        if mapped is not None:
            return self._check_mapped(mapped, **kwargs)
        if variable_length:
            kwargs["ensure_all_finite"] = "allow-nan"
            if not kwargs.get("reset", True):
                X = to_width(X, self.n_features_in_)
        try:
            # Values too large for the dtype raise an error and need no warning. Nor do
            # large valid values, whose sum overflows when scikit-learn looks for NaN.
            with np.errstate(over="ignore", invalid="ignore"):
                checked = validate_data(self, X, dtype=dtype, **kwargs)
        except OverflowError as error:  # from an integer too large for a float
            hint = locate_bad_columns(X, dtype, allow_nan=variable_length)
            raise ValueError(f"{error}.{hint}") from error
        except (TypeError, ValueError) as error:
            hint = locate_bad_columns(X, dtype, allow_nan=variable_length)
            if not hint:
                raise
            raise type(error)(f"{error}{hint}") from error
        if variable_length:
            row_lengths(checked[0] if isinstance(checked, tuple) else checked)
        return checked

    def _check_scored(self, y: Any, sample_weight: Any) -> tuple[Any, Any]:
        """Validate what `score` compares predictions with."""
        y = keep_integers(as_array(y, "y"))
        if self._y_checks(y).get("y_numeric"):
            y = to_floats(y, "y")
        if sample_weight is not None:
            sample_weight = to_floats(sample_weight, "sample_weight")
        return y, sample_weight

    def _check_mapped(self, rows: MappedRows, **kwargs: Any) -> Any:
        """Validate memory-mapped rows; their values only if `y` is given.

        The values of rows to predict are checked when they are read.
        """
        # An array of this shape that takes no memory.
        stand_in = np.broadcast_to(rows.dtype.type(0), rows.shape)
        checked = validate_data(
            self, stand_in, dtype=rows.dtype, ensure_all_finite=False, **kwargs
        )
        if "y" not in kwargs:
            return rows
        rows.check()
        return rows, checked[1]

    def _check_sharded(
        self,
        rows: ShardedRows,
        variable_length: bool,
        dtype: np.dtype[Any],
        reset: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Validate the rows of this process, and the targets of all processes."""
        local = self._check_X(rows.local, variable_length, reset=reset)
        stand_in = np.broadcast_to(dtype.type(0), (len(rows), local.shape[1]))
        _, y = check_X_y(
            stand_in, dtype=dtype, ensure_all_finite=False, estimator=self, **kwargs
        )
        if isinstance(local, MappedRows):
            local.check()
        return replace(rows, local=local), y

    def _check_data(
        self,
        X: Any,
        y: Any,
        X_val: Any,
        y_val: Any,
        *,
        earlier: Targets | None,
        classes: Any,
        min_samples: int,
        cache: dict[Any, Any],
    ) -> CheckedData:
        """Check the data of a fit without changing the estimator."""
        variable_length = self.variable_length
        key: tuple[Any, ...] = type(self), id(X), id(y), str(self.dtype)
        key = *key, bool(variable_length)
        # scikit-learn's checks set attributes, so they get a copy of the estimator.
        draft = object.__new__(type(self))
        draft.__dict__.update(vars(self))
        if key not in cache:
            checked_X, checked_y = draft._check_X(
                X,
                variable_length,
                y=y,
                reset=earlier is None,
                ensure_min_samples=min_samples,
            )
            targets = self._learn_targets(checked_y, earlier, classes)
            seen = {name: vars(draft)[name] for name in _SEEN if name in vars(draft)}
            every_row = np.arange(len(checked_X))
            cache[key] = checked_X, targets.check(checked_y), targets, seen, every_row
        X, y, targets, seen, every_row = cache[key]
        if X_val is None:
            return CheckedData(key, [X], [y], every_row, targets, seen)
        draft.__dict__.update(seen)
        key = *key, id(X_val), id(y_val)
        if key not in cache:
            try:
                X_val, y_val = draft._check_X(
                    X_val, variable_length, y=y_val, reset=False
                )
                cache[key] = X_val, targets.check(y_val)
            except ValueError as error:
                raise ValueError(f"In X_val and y_val: {error}") from error
        X_val, y_val = cache[key]
        return CheckedData(key, [X, X_val], [y, y_val], every_row, targets, seen)

    @with_default_settings
    def __rebatch_prepare__(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        groups: Any = None,
        *,
        incremental: bool = False,
        classes: Any = None,
        cache: dict[Any, Any] | None = None,
        seed: int | None = None,
    ) -> PreparedFit:
        """Check everything and prepare a fit, without changing the estimator.

        Fits that share a `cache` check and store the same arrays once. `seed` is used
        if `random_state` is None.
        """
        self._check_parameters()
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be passed together.")
        cache = {} if cache is None else cache
        earlier = self._earlier_fit() if incremental or self.warm_start else None
        has_no_scale = not getattr(self, "standardize_target", True)
        knows_targets = earlier is not None or classes is not None or has_no_scale
        data = self._check_data(
            X,
            y,
            X_val,
            y_val,
            earlier=None if earlier is None else self._fitted_targets(),
            classes=classes,
            # partial_fit takes a single row once the classes or the scale are known.
            min_samples=1 if knows_targets and incremental else 2,
            cache=cache,
        )
        weights = check_weights(sample_weight, len(data.rows))
        prepared = prepare_fit(
            self,
            data,
            data.targets.weigh(data.y[0], getattr(self, "class_weight", None), weights),
            earlier,
            splitting=make_splitting(self.cv, X, groups, len(data.rows)),
            incremental=incremental,
            class_balanced=getattr(self, "class_balanced", False),
            standardize=getattr(self, "standardize_target", False),
            cache=cache,
            seed=seed,
        )
        if not incremental:
            names, limit = data.learned.get("feature_names_in_"), input_limit(self)
            key = "scales", data.key, limit
            if key not in cache:  # fits of the same data are examined once
                cache[key] = None
                warn_of_scales(data.X[0], names, limit)
        prepared.sample_weight = weights
        if self.record_losses and weights is not None:
            prepared.learned["recorded_weights_"] = weights
        index = None if isinstance(X, list | tuple) else getattr(X, "index", None)
        if self.record_losses and index is not None:
            prepared.learned["sample_index_"] = index
        return prepared

    def _earlier_fit(self) -> EarlierFit | None:
        """Return the networks and state of the last fit, or None."""
        if not hasattr(self, "module_"):
            return None
        return EarlierFit(networks_of(self.module_), self.n_iter_, self._fit_state)

    def _trains_in_parts(self) -> bool:
        """Return True if `partial_fit` is available; else raise AttributeError.

        Invalid parameters are left to the checks of `partial_fit`.
        """
        if isinstance(self.early_stopping, bool | np.bool_) and self.early_stopping:
            raise AttributeError(
                "partial_fit trains one epoch and does not support early stopping; "
                "set early_stopping=False."
            )
        options = self.lr_schedule_params
        if isinstance(options, dict) and options.get("monitor") == "valid_loss":
            raise AttributeError(
                'lr_schedule_params={"monitor": "valid_loss"} needs a validation set, '
                'which partial_fit does not have; set {"monitor": "train_loss"}.'
            )
        return True

    def _all_callbacks(self) -> list[Any]:
        """Return the user's callbacks and those that show the epochs, if verbose."""
        return [*(self.callbacks or []), *epoch_reports(self.verbose)]

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, groups: Any
    ) -> Self:
        random_seed = secrets.randbits(32)
        checkpoint, seed = open_checkpoint(self.checkpoint_dir, random_seed)
        prepared = self.__rebatch_prepare__(
            X, y, sample_weight, X_val, y_val, groups, seed=seed
        )
        if checkpoint is not None:
            checkpoint.claim(fingerprint_of(self, prepared))
        with unchanged_on_error(self):
            self._train(prepared, X, y, sample_weight, checkpoint, seed)
            self._report_interruption()
        return self

    @with_callbacks
    def _train(
        self,
        prepared: PreparedFit,
        X: Any,
        y: Any,
        sample_weight: Any,
        checkpoint: Any,
        seed: int,
    ) -> None:
        """Train, reporting to scikit-learn's callbacks."""
        task = FitTask(self, X, y, sample_weight, self.max_epochs)
        tasks = []
        if task.context is not None:
            tasks = [EpochTasks(task, prepared.learned)]
        callbacks = [*tasks, *self._all_callbacks()]
        train_and_finish(self, prepared, callbacks, checkpoint, seed)
        task.end()

    @with_default_settings
    def _partial_fit(
        self, X: Any, y: Any, sample_weight: Any, classes: Any = None
    ) -> Self:
        prepared = self.__rebatch_prepare__(
            X, y, sample_weight, incremental=True, classes=classes
        )
        job, callbacks = prepared.job, self._all_callbacks()
        if hasattr(self, "net_"):
            net = continue_training(self.net_, job, callbacks)
        else:
            net = make_net([job], callbacks).initialize()
            # An estimator from a model file has a history, but no net.
            net.history = getattr(self, "history_", net.history)
        (result,) = run_jobs([job], net=net)
        with unchanged_on_error(self):
            self.__rebatch_finish__(prepared, result, net)
            self._report_interruption()
        return self

    @with_default_settings
    def __rebatch_finish__(
        self, prepared: PreparedFit, result: Result, net: ReBatchNet | None = None
    ) -> None:
        """Set the fitted attributes from a result, and from its net if given.

        If the fit has failed, its error is raised and nothing is changed.
        """
        result.raise_error()
        with unchanged_on_error(self):
            before = {n: v for n, v in vars(self).items() if _is_fitted(n)}
            self.__rebatch_setstate__(*results_of(prepared, before))
            if net is not None:
                self.net_, self.history_ = net, net.history
                self.interrupted_ = net.interrupted_
                net.drop_data()

    def _report_interruption(self) -> None:
        """Warn of an interrupted training, or raise within `interrupts_raised`."""
        if not self.interrupted_:
            return
        if interrupts_raise():
            raise KeyboardInterrupt  # again: skorch caught the first one
        n_epochs = len(self.history_)
        end, kept = f" in epoch {n_epochs}", "the network trained until then is kept"
        if self.n_networks > 1 and stops_early(self):  # the history ends there
            end, kept = "", f"the networks of epoch {n_epochs}, the best, are kept"
        warn_user(f"Training was interrupted{end}; {kept}.", ConvergenceWarning)

    def _summarise_logs(self) -> None:
        """Set the attributes of `record_losses`, averaged over the networks."""
        logs = [log for log in self._fit_state.logs if log is not None]
        if logs:
            self.__dict__.update(recorded_attributes(logs))

    def __rebatch_getstate__(self) -> tuple[dict[str, Any], FitState]:
        """Return the fitted attributes, and the state that a later fit continues."""
        attributes = {n: v for n, v in vars(self).items() if _is_fitted(n)}
        return attributes, attributes.pop("_fit_state")

    def __rebatch_setstate__(self, attributes: dict[str, Any], state: FitState) -> None:
        """Replace the fitted attributes and the state."""
        for name in [n for n in vars(self) if _is_fitted(n)]:
            delattr(self, name)
        self.__dict__.update(attributes)
        self._fit_state = state
        self._summarise_logs()

    @with_default_settings
    def _predict(self, X: Any, finish: Finish) -> NDArray[np.float64]:
        """Predict rows; `finish` maps outputs (K, b, O) to predictions (b, columns)."""
        check_is_fitted(self)
        network = networks_of(self.module_)[0]
        # From the network, since the parameter may have been set after the fit.
        X = self._check_X(
            X,
            network.architecture.variable_length,
            dtype=next(network.parameters()).dtype,
            reset=False,
        )
        return predict(self.module_, X, finish)

    def __sklearn_tags__(self) -> Any:
        """Set the tag that allows NaN, which pads rows of variable length."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = bool(self.variable_length)
        return tags

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        """Return everything, for pickle and copy.

        The network is on the CPU, so that any machine loads it.
        """
        state = super().__getstate__()
        if "module_" in state:
            state["module_"] = copy.deepcopy(state["module_"]).cpu()
        new = copyreg.__newobj__  # type: ignore[attr-defined]
        return new, (type(self),), state

    def __getstate__(self) -> dict[str, Any]:
        """Return text and arrays, for programs that save without code, as skops."""
        return to_plain_state(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Set what pickle or such a program has loaded."""
        if state.keys() == PLAIN_STATE:
            state = from_plain_state(type(self), state)
        super().__setstate__(state)


def _is_fitted(name: str) -> bool:
    """Whether an attribute is set by a fit."""
    is_public = name.endswith("_") and not name.startswith("_")
    return is_public or name in ("_fit_state", "_is_1d")
