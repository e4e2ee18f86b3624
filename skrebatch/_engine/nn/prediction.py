"""Predictions of several networks at once, in blocks of rows.

All networks predict a block together, as a stack. Blocks have fixed sizes, and the last
one is filled up: matrix products of different sizes may add in different orders, and
the prediction for a row must have the same bits whatever other rows are predicted with
it. Threads predict different rows. No operation is divided among threads, because the
threads would have to wait for one another at each operation.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from skrebatch._engine.nn.architecture import Architecture, shorten
from skrebatch._engine.nn.stack import CNNStack, append_constants
from skrebatch._engine.nn.step import Step
from skrebatch._engine.nn.tabular_cnn import Ensemble, TabularCNN, networks_of
from skrebatch._engine.nn.threads import one_thread_if
from skrebatch._engine.nn.workspace import Workspace
from skrebatch._utils.settings import with_default_settings
from skrebatch._utils.typing import Floats, Indices

Float64s = NDArray[np.float64]
Finish = Callable[[Float64s], Float64s]
Steps = dict[tuple[Architecture, int], Step]

# Maximum number of rows of a block, and of values of its widest layer, so that it fits
# in the cache. A GPU needs larger blocks.
_BLOCK_ROWS, _BLOCK_VALUES = 128, 1_000_000
_GPU_ROWS, _GPU_VALUES = 8192, 100_000_000
# Number of rows of the smallest block. All sizes are multiples of it: for other sizes,
# some libraries sum the last rows in a different order.
_FEW_ROWS = 4
# Maximum number of blocks, and of their values, that a thread predicts before it takes
# the next rows. The number of values limits the memory.
_BLOCKS_AT_ONCE, _PART_VALUES = 32, 1_000_000
# Maximum number of values of a block whose memory is kept for the next predictions.
_KEPT_VALUES = 100_000

# The predictors that are not in use, by module. They are not attributes, so copies and
# files of a module or an estimator do not contain them.
_idle: WeakKeyDictionary[torch.nn.Module, list[Predictor]] = WeakKeyDictionary()
# Within `shared_predictors`, those of all modules, by the sizes of their networks.
_shared: ContextVar[dict[Any, list[Predictor]] | None]
_shared = ContextVar("_shared", default=None)


def predict(module: TabularCNN | Ensemble, X: Any, finish: Finish) -> Float64s:
    """Predict rows with all networks of a module.

    Parameters
    ----------
    module : TabularCNN or Ensemble
    X : ndarray of shape (n_samples, n_features), or MappedRows
        Rows in the dtype of the networks.
    finish : callable
        Maps outputs (K, b, O), in float64, to predictions (b, n_columns), each row by
        itself.

    Returns
    -------
    predictions : ndarray of shape (n_samples, n_columns)
    """
    n_threads = torch.get_num_threads()
    with torch.no_grad(), one_thread_if(True), _borrow_predictor(module) as predictor:
        return predictor.predict(X, finish, n_threads)


@contextlib.contextmanager
def shared_predictors() -> Iterator[None]:
    """Let modules of the same sizes use one predictor in turn, in this thread.

    This is for many modules that predict once or twice each. Copying other networks
    into a predictor takes less time than making a new one.
    """
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


@contextlib.contextmanager
def _borrow_predictor(module: TabularCNN | Ensemble) -> Iterator[Predictor]:
    """Lend an idle predictor, which holds the networks, or a new one to a thread."""
    values = _read_values(module)
    networks = networks_of(module)
    shared = _shared.get()
    if shared is None:
        idle = _idle.setdefault(module, [])
    else:
        sizes = networks[0].architecture, len(networks), values.dtype, values.device
        idle = shared.setdefault(sizes, [])
    try:
        predictor = idle.pop()
    except IndexError:
        predictor = None
    is_current = predictor is not None and predictor.holds(values)
    if predictor is None or (shared is None and not is_current):
        predictor = Predictor(_make_stack(networks), values)
    elif not is_current:
        predictor.load(networks, values)
    yield predictor
    idle.append(predictor)


def _read_values(module: torch.nn.Module) -> torch.Tensor:
    """Return all parameters and buffers of a module in one tensor, (n_values,).

    The methods of the module that list them would take several times as long.
    """
    modules = [module]
    tensors: list[torch.Tensor | None] = []
    for part in modules:
        modules.extend(child for child in part._modules.values() if child is not None)
        tensors += [*part._parameters.values(), *part._buffers.values()]
    return torch.cat(
        [t.reshape(-1) for t in tensors if t is not None and t.is_floating_point()]
    )


def _make_stack(networks: list[TabularCNN]) -> CNNStack:
    """Return copies of networks of the same sizes."""
    first = next(networks[0].parameters())
    K = len(networks)
    stack = CNNStack(networks[0].architecture, (K,), first.dtype, first.device)
    for k, network in enumerate(networks):
        stack.write(k, network)
    return stack


class Predictor:
    """Predicts with copies of networks in a stack.

    For a few rows, making the stack takes longer than predicting them. Therefore it is
    kept, and used as long as the networks hold the same values. The values themselves
    are compared, because torch reports no change that is made through
    ``parameter.data``, or through an array that shares the memory. This reads each
    value once, as does the prediction of a row.

    Parameters
    ----------
    stack : CNNStack
        The copies.
    values : torch.Tensor
        All parameters and buffers of the module that they are copies of.
    """

    def __init__(self, stack: CNNStack, values: torch.Tensor):
        architecture, flat = stack.architecture, stack.flat
        self.full, self.values = stack, values
        self.stacks = {architecture: stack}
        # The steps that are kept.
        self.steps: Steps = {}
        # Rows of a block.
        on_cpu = flat.device.type == "cpu"
        most_rows = _BLOCK_ROWS if on_cpu else _GPU_ROWS
        most_values = _BLOCK_VALUES if on_cpu else _GPU_VALUES
        n_rows = most_values // (len(flat) * architecture.width)
        self.size = max(_FEW_ROWS, min(most_rows, n_rows // _FEW_ROWS * _FEW_ROWS))
        n_values = self.size * len(flat) * architecture.width
        self.keeps_steps = n_values <= _KEPT_VALUES

    def holds(self, values: torch.Tensor) -> bool:
        """Return whether the networks were made of exactly these values."""
        mine = self.values
        return (
            mine.dtype == values.dtype
            and mine.device == values.device
            # Faster than torch.equal.
            and np.array_equal(mine.cpu().numpy(), values.cpu().numpy())
        )

    def load(self, networks: list[TabularCNN], values: torch.Tensor) -> None:
        """Replace the networks by copies of others of the same sizes."""
        for k, network in enumerate(networks):
            self.full.write(k, network)
        self.values = values
        # Stacks for short rows still have the old weights.
        architecture = self.full.architecture
        self.stacks = {architecture: self.full}
        self.steps = {
            key: step for key, step in self.steps.items() if key[0] == architecture
        }

    def predict(self, X: Any, finish: Finish, n_threads: int) -> Float64s:
        """Predict rows on at most `n_threads` threads; see :func:`predict`."""
        if len(X) <= _FEW_ROWS:
            return self._predict_part(X[:], finish, self.steps)
        n_values = self.size * self.full.architecture.n_features
        n_blocks = max(1, min(_BLOCKS_AT_ONCE, _PART_VALUES // n_values))
        n_rows = n_blocks * self.size
        parts = [slice(i, i + n_rows) for i in range(0, len(X), n_rows)]
        n_threads = min(n_threads, len(parts))
        # Each thread takes steps that no other thread uses.
        idle: list[Steps] = [{} for _ in range(n_threads)]
        if self.keeps_steps:
            idle[0] = self.steps

        @with_default_settings
        def predict_part(part: slice) -> Float64s:
            steps = idle.pop()
            with torch.no_grad():
                predictions = self._predict_part(X[part], finish, steps)
            idle.append(steps)
            return predictions

        if n_threads == 1:
            return np.concatenate([predict_part(part) for part in parts])
        pool = ThreadPoolExecutor(n_threads)
        try:
            return np.concatenate(list(pool.map(predict_part, parts)))
        finally:
            pool.shutdown(cancel_futures=True)

    def _predict_part(self, X: Floats, finish: Finish, steps: Steps) -> Float64s:
        """Predict rows that fit into memory, on one thread."""
        # torch does not support negative strides, those of X[::-1].
        rows = torch.from_numpy(np.array(X, order="C"))
        if self.full.flat.dtype == torch.float64:
            return self._predict_rows(rows, finish, steps)
        with np.errstate(invalid="ignore"):
            predictions = self._predict_rows(rows, finish, steps)
        bad = ~np.isfinite(predictions).all(axis=1)
        if bad.any():
            # Features of 1e37, say, whose sums are beyond the range of float32.
            stack = copy.deepcopy(self.full).to("cpu", torch.float64)
            exact = Predictor(stack, self.values)
            rows = torch.tensor(X[bad], dtype=torch.float64)
            predictions[bad] = exact._predict_rows(rows, finish, {})
        return predictions

    def _predict_rows(
        self, rows: torch.Tensor, finish: Finish, steps: Steps
    ) -> Float64s:
        """Predict rows in the dtype of the networks."""
        architecture = self.full.architecture
        rows = rows.to(self.full.flat.device)
        table = append_constants(rows, architecture.variable_length)
        if not architecture.variable_length:
            return self._predict_table(table, self.full, finish, steps)
        groups = _by_length(architecture, table[:, -1].cpu().numpy())
        parts = []
        for short, chosen in groups:
            # The features up to the end of the longest row, and the constants.
            columns = [*range(short.n_features), *range(-3, 0)]
            part = table[chosen][:, columns]
            parts.append(self._predict_table(part, self._stack(short), finish, steps))
        order = np.concatenate([chosen for _, chosen in groups])
        return np.concatenate(parts)[order.argsort()]

    def _stack(self, architecture: Architecture) -> CNNStack:
        """Return the stack for rows of which `architecture` is the shortened one."""
        if architecture not in self.stacks:
            self.stacks[architecture] = self.full.shortened(architecture)
        return self.stacks[architecture]

    def _predict_table(
        self, table: torch.Tensor, stack: CNNStack, finish: Finish, steps: Steps
    ) -> Float64s:
        """Predict rows that end in constants, block by block."""
        predictions = []
        for start in range(0, len(table), self.size):
            rows = table[start : start + self.size]
            is_few = len(rows) <= _FEW_ROWS and _sizes_agree(stack, self.size)
            key = stack.architecture, _FEW_ROWS if is_few else self.size
            if key not in steps:
                steps[key] = _make_step(stack, key[1])
            outputs = _compute(steps[key], rows, len(stack.flat))
            # A copy, since the next block overwrites the outputs.
            block = outputs.cpu().to(torch.float64, copy=True).numpy()
            predictions.append(finish(block)[: len(rows)])
        return np.concatenate(predictions)


def _make_step(stack: CNNStack, size: int) -> Step:
    """Return a step with memory of its own that predicts `size` rows."""
    flat = stack.flat
    workspace = Workspace(flat, len(flat), size, forward_only=True)
    step = Step(stack.layout, flat, stack.grad, stack.running, workspace, size)
    step.rows.zero_()  # valid rows, whatever lengths rows may have
    return step


def _compute(step: Step, rows: torch.Tensor, K: int) -> torch.Tensor:
    """Return the outputs (K, b, O) of a step; those of `rows` come first."""
    step.rows.unflatten(0, (K, -1))[:, : len(rows)].copy_(rows)
    return step.forward()


def _sizes_agree(stack: CNNStack, size: int) -> bool:
    """Return whether few rows have the same outputs as in a block of `size` rows."""
    flat = stack.flat
    return flat.device.type == "cpu" and _sizes_agree_for(
        stack.architecture, len(flat), flat.dtype, size
    )


@lru_cache(maxsize=256)
def _sizes_agree_for(
    architecture: Architecture, K: int, dtype: torch.dtype, size: int
) -> bool:
    """Try with random rows and networks.

    The order of the sums depends only on the sizes. If it differs, so do the outputs.
    """
    generator = torch.Generator().manual_seed(0)
    stack = CNNStack(architecture, (K,), dtype)
    for k in range(K):
        stack.draw(k, generator)
        if architecture.clips_inputs:
            stack.clip_inputs(k, 1.0)
    shape = size, architecture.n_features
    x = torch.empty(shape, dtype=dtype).normal_(generator=generator)
    table = append_constants(x, architecture.variable_length)
    expected = _compute(_make_step(stack, size), table, K)
    step = _make_step(stack, _FEW_ROWS)
    found = [_compute(step, few, K).clone() for few in table.split(_FEW_ROWS)]
    return torch.equal(torch.cat(found, dim=1), expected)


def _by_length(
    architecture: Architecture, lengths: Floats
) -> list[tuple[Architecture, Indices]]:
    """Group rows by the shortest network that predicts them.

    The group depends only on the length of a row, not on the other rows.
    """
    shorts: dict[Architecture, list[float]] = {}
    for length in np.unique(lengths):
        shorts.setdefault(shorten(architecture, int(length)), []).append(length)
    return [
        (short, np.flatnonzero(np.isin(lengths, members)))
        for short, members in shorts.items()
    ]
