"""skorch callbacks: re-Batch for any net, and a progress bar."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from tqdm.auto import tqdm

from skrebatch.samplers import (
    IntervalInsertionSampler,
    check_ratio,
    check_repeats,
    redistribution_size,
    warn_if_nothing_redistributed,
)
from skrebatch.strategies import Strategy, check_strategy


class ReBatch(Callback):
    """Bring dynamic re-Batch [1]_ to any skorch net with a module of your own.

    After each epoch it computes the loss of every training sample and gives the
    training DataLoader the order of the next epoch. The batch size stays the
    net's.

    Parameters
    ----------
    ratio : float, default=0.15
        Redistribution ratio r of eq. 2, 0 or more.
    strategy : {"min-loss", "max-loss", "random"} or Strategy, default="min-loss"
        Which samples to redistribute.
    repeats : int, default=1
        How often the next epoch holds each of them: 0 leaves them out.
    shuffle : bool, default=True
        Whether to shuffle the other samples in every epoch.
    random_state : int, numpy.random.Generator or None, default=None
        Source of all chance.

    Attributes
    ----------
    sampler_ : IntervalInsertionSampler
        The sampler of the training DataLoader.
    sample_losses_ : ndarray of shape (n_samples,)
        Loss of every training sample after the last epoch.
    chosen_ : ndarray of int
        Samples that the next epoch would redistribute.

    Raises
    ------
    ValueError
        If a parameter is out of range, the net's training iterator shuffles or has a
        sampler already, or a loss becomes NaN or infinite.
    TypeError
        If the criterion can't give the loss of each sample.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skorch import NeuralNetRegressor
    >>> from skrebatch import ReBatch
    >>> rebatch = ReBatch(ratio=0.5, random_state=0)
    >>> net = NeuralNetRegressor(
    ...     torch.nn.Linear(2, 1), max_epochs=3, train_split=None, verbose=0,
    ...     callbacks=[rebatch],
    ... )
    >>> X = np.arange(12, dtype="float32").reshape(6, 2) / 12
    >>> _ = net.fit(X, X[:, :1])
    >>> rebatch.sample_losses_.shape, rebatch.chosen_.shape
    ((6,), (2,))
    """

    def __init__(
        self,
        ratio: float = 0.15,
        strategy: str | Strategy = "min-loss",
        repeats: int = 1,
        shuffle: bool = True,
        random_state: int | np.random.Generator | None = None,
    ):
        self.ratio = ratio
        self.strategy = strategy
        self.repeats = repeats
        self.shuffle = shuffle
        self.random_state = random_state

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Check everything, and put the sampler into the training iterator."""
        check_ratio(self.ratio)
        check_repeats(self.repeats)
        self.strategy_ = check_strategy(self.strategy)
        if not hasattr(net.criterion_, "reduction"):
            raise TypeError(
                f"ReBatch needs the loss of each sample, but {net.criterion_!r} has no "
                "`reduction`. Give the criterion a `reduction` attribute that may be "
                'set to "none", as torch\'s losses have.'
            )
        for name in ("shuffle", "sampler", "batch_sampler"):
            there = getattr(net, f"iterator_train__{name}", None)
            if there and there is not getattr(self, "sampler_", None):
                raise ValueError(
                    f"ReBatch decides the order of the training samples; remove "
                    f"iterator_train__{name} from the net."
                )
        for name in ("shuffle", "drop_last", "sampler", "batch_sampler"):
            if getattr(net, f"iterator_valid__{name}", None):
                raise ValueError(
                    "ReBatch reads the losses in the order of the samples; remove "
                    f"iterator_valid__{name} from the net."
                )
        if not (net.history and hasattr(self, "rng_")):  # else a partial_fit goes on
            self.rng_ = np.random.default_rng(self.random_state)
        # The net splits off its validation data later; the first epoch brings the
        # number of training samples.
        self.sampler_ = IntervalInsertionSampler(
            0, self.repeats, self.shuffle, self.rng_
        )
        net.iterator_train__sampler = self.sampler_

    def on_epoch_begin(
        self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        """Learn how many samples there are."""
        if self.sampler_.n_samples == 0:
            self.sampler_.n_samples = n = len(dataset_train)
            size = redistribution_size(n, self.ratio)
            warn_if_nothing_redistributed(n, self.ratio, size)
            if len(net.history) > 1:  # trained before, maybe on other data
                self._redistribute(net, dataset_train)

    def on_epoch_end(
        self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        """Compute the losses and set the order of the next epoch."""
        self._redistribute(net, dataset_train)

    def _redistribute(self, net: NeuralNet, dataset_train: Any) -> None:
        self.sample_losses_ = _sample_losses(net, dataset_train)
        if not np.isfinite(self.sample_losses_).all():
            raise ValueError(
                f"The loss of {np.sum(~np.isfinite(self.sample_losses_))} training "
                f"samples is NaN or infinite after epoch {len(net.history)}: there is "
                "nothing to choose by. Scale the inputs or lower lr."
            )
        size = redistribution_size(len(self.sample_losses_), self.ratio)
        self.chosen_ = self.strategy_.choose(self.sample_losses_, size, self.rng_)
        self.sampler_.redistribute(self.chosen_)

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Leave the net's training iterator as it was."""
        net.iterator_train__sampler = None


def _sample_losses(net: NeuralNet, dataset: Any) -> np.ndarray:
    """Compute the loss of every sample under a skorch net."""
    criterion = net.criterion_
    reduction, criterion.reduction = criterion.reduction, "none"
    losses = []
    try:
        for batch in net.get_iterator(dataset, training=False):
            with torch.no_grad():
                outputs = net.evaluation_step(batch, training=False)
                loss = net.get_loss(outputs, batch[1], X=batch[0], training=False)
            losses.append(loss.flatten(1).mean(1) if loss.dim() > 1 else loss)
    finally:
        criterion.reduction = reduction
    return torch.cat(losses).cpu().numpy()


class EpochProgress(Callback):
    """A progress bar over the epochs that shows the losses."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave out a bar that an error left open: it can't be pickled."""
        return {name: it for name, it in vars(self).items() if name != "bar_"}

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Open the bar."""
        self.bar_ = tqdm(total=net.max_epochs, unit="epoch", leave=True)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Show the losses of the epoch."""
        row = net.history[-1]
        names = [name for name in ("train_loss", "valid_loss") if name in row]
        self.bar_.set_postfix({name: f"{row[name]:.4g}" for name in names})
        self.bar_.update()

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar_.close()
