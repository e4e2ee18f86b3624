"""What speed.py compares with: the same training in other hands.

All train the network of skrebatch's defaults (conv 8 -> 16, kernel 3, pool 2, hidden
layer twice the flattened size, one logit), with the same batch size, epochs, loss pass
and selection, except where it says otherwise.
"""

import logging
import warnings
from importlib.util import find_spec

import numpy as np
import torch
from skorch import NeuralNetBinaryClassifier
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, TensorDataset

from skrebatch import Epoch, IntervalInsertionSampler, MinLoss, ReBatch

HAS_LIGHTNING = find_spec("lightning") is not None


def flat_size(n_features):
    """Count the values that the second pool hands to the head."""
    return 16 * (n_features // 2 // 2)


class Network(nn.Sequential):
    """The network as one would write it down; input (b, 1, n_features)."""

    def __init__(self, n_features, seed=0):
        torch.manual_seed(seed)
        flat = flat_size(n_features)
        super().__init__(
            nn.Conv1d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Flatten(),
            nn.Linear(flat, 2 * flat),
            nn.ReLU(),
            nn.Linear(2 * flat, 1),
        )


class Order:
    """The order of the epochs, with a template of where the chosen samples go."""

    def __init__(self, n_samples, n_chosen, device="cpu"):
        interval = (n_samples - n_chosen) // n_chosen
        self.places = torch.arange(1, n_chosen + 1, device=device) * (interval + 1) - 1
        self.others = torch.ones(n_samples, dtype=torch.bool, device=device)
        self.others[self.places] = False
        self.others = self.others.nonzero().squeeze(1)
        self.indices = torch.randperm(n_samples, device=device)

    def redistribute(self, losses):
        """Put the samples of lowest loss into their places, shuffle the others."""
        chosen = losses.topk(len(self.places), largest=False).indices
        remaining = torch.ones_like(self.indices, dtype=torch.bool)
        remaining[chosen] = False
        remaining = remaining.nonzero().squeeze(1)
        shuffle = torch.randperm(len(remaining), device=remaining.device)
        self.indices[self.places] = chosen
        self.indices[self.others] = remaining[shuffle]


def as_tensors(X, y, device="cpu"):
    """Return X of shape (N, 1, F) and float targets."""
    X = torch.from_numpy(X).to(device).unsqueeze(1)
    return X, torch.from_numpy(y).to(device, torch.float32).unsqueeze(1)


@torch.no_grad()
def losses_of(network, X, y):
    """Return the loss of each row, of shape (N, 1)."""
    return binary_cross_entropy_with_logits(network(X), y, reduction="none")


def minimal_loop(X, y, n_chosen, epochs, device="cpu"):
    """Train with nothing but torch, as lean as plain autograd gets."""
    X, y = as_tensors(X, y, device)
    network = Network(X.shape[2]).to(device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    order = Order(len(X), n_chosen, device)
    for _ in range(epochs):
        for rows in order.indices.split(n_chosen):
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(network(X[rows]), y[rows]).backward()
            optimizer.step()
        order.redistribute(losses_of(network, X, y).squeeze(1))
    return network


def bare_loop(X, y, batch_size, epochs, loss_pass_rows=2048):
    """Train on batches in the order of the table, then compute every loss."""
    X, y = as_tensors(X, y)
    network = Network(X.shape[2])
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    for _ in range(epochs):
        for rows, targets in zip(X.split(batch_size), y.split(batch_size), strict=True):
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(network(rows), targets).backward()
            optimizer.step()
        chunks = zip(X.split(loss_pass_rows), y.split(loss_pass_rows), strict=True)
        losses = [losses_of(network, rows, targets) for rows, targets in chunks]
    return network, torch.cat(losses)


def make_net(cls, n_features, epochs, device, **options):
    """Make a net of skorch."""
    return cls(
        Network,
        module__n_features=n_features,
        module__seed=0,
        max_epochs=epochs,
        lr=1e-3,
        optimizer=torch.optim.Adam,
        train_split=None,
        device=device,
        verbose=0,
        **options,
    )


def skorch_net(n_features, ratio, batch_size, epochs, device="cpu"):
    """Make a net of skorch as it ships, with the callback that brings re-Batch."""
    options = {"batch_size": batch_size}
    options["callbacks"] = [("rebatch", ReBatch(ratio, random_state=0))]
    cls = NeuralNetBinaryClassifier
    return make_net(cls, n_features, epochs, device, **options)


class LeanNet(NeuralNetBinaryClassifier):
    """The same training, as lean as a net of skorch can be written.

    Its loader yields slices of the tensors, the losses of all rows are computed in one
    pass, and it has none of skorch's callbacks. `n_chosen` is also the batch size. With
    `stops`, a tenth of the rows is held out, and their loss is computed each epoch.
    """

    def __init__(self, *args, n_chosen=1, stops=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.n_chosen, self.stops = n_chosen, stops

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train for all epochs."""
        X, y = as_tensors(X[:, 0], y, self.device)
        if self.stops:
            held_out = len(X) // 10
            valid_X, valid_y = X[:held_out], y[:held_out]
            X, y = X[held_out:], y[held_out:]
        order = Order(len(X), self.n_chosen, self.device)
        for _ in range(self.max_epochs):
            for rows in order.indices.split(self.n_chosen):
                self.train_step((X[rows], y[rows]))
            order.redistribute(losses_of(self.module_, X, y).squeeze(1))
            if self.stops:
                losses_of(self.module_, valid_X, valid_y).mean().item()
        return self

    def train_step_single(self, batch, **fit_params):
        """Take the gradients of a batch; skorch's own moves it to the device first."""
        rows, targets = batch
        outputs = self.module_(rows)
        loss = binary_cross_entropy_with_logits(outputs, targets)
        loss.backward()
        return {"loss": loss, "y_pred": outputs}


def lean_net(n_features, epochs, stops, device="cpu"):
    """Make the leanest net of skorch."""
    options = {"stops": stops, "optimizer__fused": True, "callbacks": "disable"}
    return make_net(LeanNet, n_features, epochs, device, **options)


def lightning_fit(X, y, n_chosen, epochs):
    """Train by Lightning's Trainer and torch's DataLoader."""
    import lightning  # slow, and the workers of a search don't need it

    X, y = as_tensors(X, y)
    sampler = IntervalInsertionSampler(len(X), random_state=0)
    loader = DataLoader(TensorDataset(X, y), n_chosen, sampler=sampler)

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = Network(X.shape[2])

        def training_step(self, batch, _):
            rows, targets = batch
            return binary_cross_entropy_with_logits(self.network(rows), targets)

        def on_train_epoch_end(self):
            losses = losses_of(self.network, X, y).squeeze(1).numpy()
            epoch = Epoch(2, epochs, n_chosen, np.random.default_rng(0))
            sampler.redistribute(MinLoss().plan(losses, epoch))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), fused=True)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on workers and loggers
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(Module(), loader)
