"""What the classifier and the regressor share."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_X_y
from sklearn.utils.validation import check_is_fitted, validate_data

from skrebatch._engine.nn.tabular_cnn import Ensemble, TabularCNN, as_module
from skrebatch._engine.nn.threads import is_small, one_thread_if
from skrebatch._engine.optim.optimizers import resolve_optimizer
from skrebatch._engine.serialization.checkpoint import Checkpoint, fingerprint
from skrebatch._engine.tables.memmapped import MappedRows, map_rows
from skrebatch._engine.tables.sharded import ShardedRows
from skrebatch._engine.training.checkpointing import CheckpointWriter
from skrebatch._engine.training.epoch_plan import stack_table
from skrebatch._engine.training.members import Job
from skrebatch._engine.training.net import ReBatchNet, make_net, train
from skrebatch._engine.training.progress import EpochProgress
from skrebatch._utils.doc_links import LinkedMixin
from skrebatch._utils.dtypes import (
    numpy_dtype,
    resolve_device,
    resolve_dtype,
    resolve_precision,
)
from skrebatch._utils.padding import row_lengths, to_width
from skrebatch._utils.user_warnings import warn_user
from skrebatch._utils.validation import (
    as_array,
    check_params,
    check_weights,
    locate_bad_columns,
    refuse_dates,
)
from skrebatch.estimators._parameters import check_parameters
from skrebatch.estimators._preparation import (
    architecture_of,
    check_data,
    choose_rows,
    draw_seeds,
    encode,
    make_members,
    networks_before,
    recognise,
)
from skrebatch.estimators._sklearn_callbacks import (
    CallbackSupportMixin,
    EpochTasks,
    FitTask,
    with_callbacks,
)
from skrebatch.exceptions import DivergedError
from skrebatch.sampling._loss_log import mean_log

_PREDICTION_ROWS = 1024

# Parameters that change nothing about how a fit ends, or are looked at by themselves.
_NO_EFFECT = (
    "checkpoint_dir",
    "checkpoint_every",
    "callbacks",
    "verbose",
    "random_state",
)

# What record_losses leaves.
_RECORDED = (
    "recorded_epochs_",
    "recorded_losses_",
    "recorded_choices_",
    "times_chosen_",
    "sample_index_",
)


@contextlib.contextmanager
def unchanged_on_error(estimator: Any) -> Iterator[None]:
    """Leave an estimator as it was where a fit fails."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__ = before
        raise


_interrupts_raise = ContextVar("interrupts_raise", default=False)


@contextlib.contextmanager
def interrupts_raised() -> Iterator[None]:
    """Let an interrupted fit raise, instead of keeping what it has."""
    token = _interrupts_raise.set(True)
    try:
        yield
    finally:
        _interrupts_raise.reset(token)


class BaseReBatchCNN(LinkedMixin, CallbackSupportMixin, BaseEstimator):
    """What the classifier and the regressor share."""

    _own_flags: ClassVar[tuple[str, ...]] = ()  # beside those of all
    loss_curve_: list[float]
    module_: TabularCNN | Ensemble

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of a strategy as ``strategy__name``.

        Parameters
        ----------
        **params : dict
            Their values by name.

        Returns
        -------
        self : estimator
            The estimator itself.

        Raises
        ------
        ValueError
            If there is no parameter of a name; the nearest one is named. No other is
            set then.
        """
        check_params(params, self)
        with unchanged_on_error(self):
            return super().set_params(**params)

    def _check_X(self, X: Any, variable_length: bool, **kwargs: Any) -> Any:
        """Validate X (and y), naming the columns that are to blame."""
        dtype = numpy_dtype(resolve_dtype(kwargs.pop("dtype", self.dtype)))
        if kwargs.get("y_numeric"):
            refuse_dates(kwargs["y"], "y")
        if isinstance(X, ShardedRows):
            return self._check_sharded(X, variable_length, dtype, **kwargs)
        refuse_dates(X, "X")
        X = as_array(X)
        if "y" in kwargs:
            kwargs["y"] = as_array(kwargs["y"])
        mapped = map_rows(X, dtype, variable_length)
        if mapped is not None:
            return self._check_mapped(mapped, **kwargs)
        if variable_length:
            kwargs["ensure_all_finite"] = "allow-nan"
            if not kwargs.get("reset", True):
                X = to_width(X, self.n_features_in_)
        try:
            # What is too large for the dtype is refused, and needs no warning; nor do
            # large values whose sum, by which scikit-learn looks for NaN, is infinite.
            with np.errstate(over="ignore", invalid="ignore"):
                checked = validate_data(self, X, dtype=dtype, **kwargs)
        except OverflowError as error:  # of a whole number that no float holds
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

    def _check_mapped(self, rows: MappedRows, **kwargs: Any) -> Any:
        """Validate rows that stay in their file, where `y` is given their values too.

        Those of rows to predict are checked as they are read.
        """
        # Of their shape, without a memory of its own.
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
        """Validate the rows of this process, and the targets of all."""
        own = self._check_X(rows.own, variable_length, reset=reset)
        stand_in = np.broadcast_to(dtype.type(0), (len(rows), own.shape[1]))
        _, y = check_X_y(
            stand_in, dtype=dtype, ensure_all_finite=False, estimator=self, **kwargs
        )
        if isinstance(own, MappedRows):
            own.check()
        return replace(rows, own=own), y

    def _check_validation_set(self, X_val: Any, y_val: Any) -> tuple[Any, Any]:
        try:
            X_val, y_val = self._check_X(
                X_val, self.variable_length, y=y_val, reset=False, **self._y_checks
            )
            return X_val, self._check_targets(y_val)
        except ValueError as error:
            raise ValueError(f"In X_val and y_val: {error}") from error

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        incremental: bool = False,
        classes: Any = None,
        cache: dict[Any, Any] | None = None,
        seed: int | None = None,
    ) -> Job:
        """Check everything and lay out what a fit needs.

        Fits of the same arrays that share a `cache` check and store them once. A seed
        stands in for a `random_state` of None.
        """
        check_parameters(self)
        if incremental and self.early_stopping:
            raise ValueError(
                "partial_fit trains one epoch and can't stop early; set "
                "early_stopping=False."
            )
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val belong together: pass both or neither.")
        continues = hasattr(self, "module_") and (incremental or self.warm_start)
        cache = {} if cache is None else cache
        index = None if isinstance(X, list | tuple) else getattr(X, "index", None)

        # The last of the parts that a table comes in may be a single row.
        min_samples = 1 if continues and incremental else 2
        key, tables, targets, every_row = check_data(
            self, X, y, X_val, y_val, continues, classes, cache, min_samples
        )
        X, y = tables[0], targets[0]
        weights = self._with_class_weight(y, check_weights(sample_weight, len(X)))

        seeds, rngs = draw_seeds(self, seed, continues)
        rows = choose_rows(self, tables, y, every_row, weights, continues, rngs[0])
        if not continues:
            self._learn_scale(y[rows.train], rows.weights)
        encoded, labels = encode(self, key, targets, rows.train, cache)

        architecture = architecture_of(self, encoded[0].shape[1])
        networks: Sequence[TabularCNN | None] = [None] * self.n_networks
        if continues:
            networks = networks_before(self, architecture)
        self._data_seen, known = recognise(self, X, y, rows.train, continues)
        for name in _RECORDED:
            self.__dict__.pop(name, None)
        if self.record_losses and index is not None:
            self.sample_index_ = index

        members = make_members(
            self,
            rows,
            labels,
            networks,
            seeds,
            rngs,
            continues=continues,
            known=known,
            incremental=incremental,
        )
        members[0].selection.warn_of_no_effect()
        if members[0].lr_schedule is not None:
            members[0].lr_schedule.warn_if_over()
        dtype, device = resolve_dtype(self.dtype), resolve_device(self.device)
        return Job(
            X=tables,
            targets=encoded,
            members=members,
            architecture=architecture,
            loss=self._loss(architecture.n_outputs),
            optimizer=resolve_optimizer(self.optimizer),
            dtype=dtype,
            device=device,
            precision=resolve_precision(self.precision, dtype, device),
            continues=continues,
        )

    def _networks(self) -> list[TabularCNN]:
        """Return the fitted networks."""
        module = self.module_
        return [module] if isinstance(module, TabularCNN) else module.members()

    def _all_callbacks(self) -> list[Any]:
        """Return the user's callbacks and, where wanted, the progress bar."""
        return [*(self.callbacks or []), *([EpochProgress()] if self.verbose else [])]

    def _fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any) -> Self:
        with unchanged_on_error(self):
            checkpoint, seed = self._open_checkpoint(Checkpoint, secrets.randbits(32))
            job = self._prepare(X, y, sample_weight, X_val, y_val, seed=seed)
            if checkpoint is not None:
                checkpoint.claim(self._fingerprint(job))
            self._train_and_keep(
                partial(self._train, job, X, y, sample_weight), checkpoint, seed
            )
        return self

    def _open_checkpoint(
        self, read: Callable[[Path], Checkpoint], seed: int
    ) -> tuple[Checkpoint | None, int]:
        """Read the checkpoint, where one is asked for.

        Returns
        -------
        checkpoint : Checkpoint or None
        seed : int
            That of the fit to go on with, if there is one.
        """
        if not isinstance(self.checkpoint_dir, str | os.PathLike):
            return None, seed
        checkpoint = read(Path(self.checkpoint_dir, "fit.safetensors"))
        return checkpoint, (checkpoint.content or {}).get("seed", seed)

    def _train_and_keep(
        self,
        train: Callable[[list[Any]], ReBatchNet],
        checkpoint: Checkpoint | None,
        seed: int,
    ) -> None:
        """Train with the callbacks that a checkpoint needs, which ends with the fit."""
        if checkpoint is None:
            self._keep(train([]))
            return
        try:
            net = train([CheckpointWriter(checkpoint, self.checkpoint_every, seed)])
        except DivergedError:
            checkpoint.remove()  # which leads there again
            raise
        self._keep(net)
        if not net.interrupted_:
            checkpoint.remove()

    def _fingerprint(self, job: Job) -> dict[str, str]:
        """Tell a fit from all that end otherwise."""
        parameters = self.get_params(deep=False)
        for name in _NO_EFFECT:
            del parameters[name]
        data = {
            # Rows in a file are told by the file, which is not read for that.
            f"{name}{suffix}": part
            if isinstance(part, MappedRows | ShardedRows)
            else np.ascontiguousarray(part)
            for name, parts in (("X", job.X), ("y", job.targets))
            for suffix, part in zip(("", "_val"), parts, strict=False)
        }
        begun_with = [
            (
                member.seed,
                member.selection.rng.bit_generator.state,
                member.network
                and [p.numpy(force=True) for p in member.network.parameters()],
            )
            for member in job.members
        ]
        return fingerprint(
            **parameters,
            **data,
            sample_weight=(job.members[0].rows, job.members[0].weights),
            random_state=begun_with,
        )

    @with_callbacks
    def _train(
        self, job: Job, X: Any, y: Any, sample_weight: Any, first: list[Any]
    ) -> ReBatchNet:
        """Train the job of a fit, for scikit-learn's callbacks to see."""
        task = FitTask(self, X, y, sample_weight, self.max_epochs)
        tasks = [] if task.context is None else [EpochTasks(task)]
        net = train([job], [*first, *tasks, *self._all_callbacks()])
        self._set_fitted_attributes(job)
        task.end()
        return net

    def _partial_fit(
        self, X: Any, y: Any, sample_weight: Any, classes: Any = None
    ) -> Self:
        with unchanged_on_error(self):
            job = self._prepare(X, y, sample_weight, incremental=True, classes=classes)
            if hasattr(self, "net_"):
                net = self.net_.continue_training(job)
            else:
                net = make_net([job], self._all_callbacks()).initialize()
                # That of a model file, which holds no net.
                net.history = getattr(self, "history_", net.history)
            with net.unchanged_on_error(), one_thread_if(net.is_small):
                table = stack_table([job])
                net.partial_fit(table, epochs=1)
                net.collect(table, [job])
                self._set_fitted_attributes(job)
                self._keep(net)
        return self

    def _keep(self, net: ReBatchNet) -> None:
        """Keep the net, without the data."""
        self.net_, self.history_ = net, net.history
        self.interrupted_ = net.interrupted_
        if net.interrupted_:
            if _interrupts_raise.get():
                raise KeyboardInterrupt  # which skorch has caught
            warn_user(
                f"Training was interrupted in epoch {len(net.history)}; the network is "
                "kept as it was then.",
                ConvergenceWarning,
            )
        net.forget()

    def _set_fitted_attributes(self, job: Job) -> None:
        """Take over the result, or raise what went wrong."""
        members = job.members
        for member in members:
            if member.error is not None:
                raise member.error
        if all(member.epochs == 0 for member in members):
            raise KeyboardInterrupt  # which skorch has caught
        first = members[0]
        networks = [member.network for member in members if member.network is not None]
        self.module_ = as_module(networks)
        self.sample_losses_ = np.mean(
            [m.losses for m in members if m.losses is not None], axis=0
        )
        chosen = [m.rows[m.selection.affected_samples] for m in members]
        self.chosen_ = chosen[0] if len(chosen) == 1 else chosen
        self.n_redistributed_ = first.selection.n_chosen
        self.batch_size_ = first.batch_size
        trained = _mean_curve([member.curves["train_loss"] for member in members])
        validated = _mean_curve([member.curves["valid_loss"] for member in members])
        validated += [math.nan] * (len(trained) - len(validated))
        if job.continues:
            before = self.loss_curve_
            unknown = [math.nan] * len(before)
            validated = getattr(self, "validation_loss_curve_", unknown) + validated
            trained = before + trained
        self.loss_curve_ = trained
        if not np.isnan(validated).all():
            self.validation_loss_curve_ = validated
        elif hasattr(self, "validation_loss_curve_"):
            del self.validation_loss_curve_
        self.n_iter_ = len(self.loss_curve_)
        self._rngs = [member.selection.rng for member in members]
        self._rates = [member.lr_schedule for member in members]
        self._memories = [member.selection.memory for member in members]
        self._logs = [member.log for member in members]
        self._summarise_logs()

    def _summarise_logs(self) -> None:
        """Average what the networks recorded, if they did."""
        logs = [log for log in self._logs if log is not None]
        if logs:
            means = mean_log(logs)
            self.recorded_epochs_, self.recorded_losses_ = means[:2]
            self.recorded_choices_, self.times_chosen_ = means[2:]

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        """Compute the raw outputs of every network (K, n_samples, n_outputs).

        In float64 whatever the network's dtype: in float32 the prediction for a
        row would vary in the sixth digit with the rows beside it.
        """
        check_is_fitted(self)
        module, architecture = self.module_, self._networks()[0].architecture
        # As the network was fitted, whatever the parameter has been set to since.
        first = next(module.parameters())
        X = self._check_X(
            X, architecture.variable_length, dtype=first.dtype, reset=False
        )
        device = first.device
        if device.type == "mps":  # which has no float64
            module, device = copy.deepcopy(module).cpu(), torch.device("cpu")
        small = is_small(architecture, min(len(X), _PREDICTION_ROWS))
        outputs = []
        with torch.no_grad(), one_thread_if(small):
            for start in range(0, len(X), _PREDICTION_ROWS):
                part = X[start : start + _PREDICTION_ROWS]
                part = torch.tensor(part, dtype=torch.float64, device=device)
                outputs.append(module(part).cpu().numpy())
        return np.concatenate(outputs, axis=-2).reshape(
            -1, len(X), outputs[0].shape[-1]
        )

    def __sklearn_tags__(self) -> Any:
        """Say whether rows may be padded with NaN."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = bool(self.variable_length)
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Hold the network on the CPU, so that any machine can load it."""
        state = super().__getstate__()
        if "module_" in state:
            state["module_"] = copy.deepcopy(state["module_"]).cpu()
        return state


def _mean_curve(curves: list[list[float]]) -> list[float]:
    """Average curves epoch by epoch, over those that got so far."""
    if len(curves) == 1:
        return curves[0]
    padded = itertools.zip_longest(*curves, fillvalue=math.nan)
    return [float(np.nanmean(values)) for values in padded]
