"""The 1D CNN over table rows, as an ordinary :class:`torch.nn.Module`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from skrebatch._engine.nn.architecture import Architecture, build_architecture
from skrebatch._engine.nn.clipping import check_input_clip, clip_smoothly


def draw_weights(
    weight: torch.Tensor, bias: torch.Tensor, generator: torch.Generator | None
) -> None:
    """Draw the weights (out, ...) and bias of a layer as torch does by default.

    One-dimensional weights belong to a batch norm: they become 1, its bias 0.
    """
    if weight.ndim == 1:
        weight.data.fill_(1)
        bias.data.fill_(0)
        return
    # Equal to kaiming_uniform_ with a = sqrt(5), the default of torch.
    bound = weight[0].numel() ** -0.5
    nn.init.uniform_(weight, -bound, bound, generator=generator)
    nn.init.uniform_(bias, -bound, bound, generator=generator)


class _BareConv1d(nn.Conv1d):
    """A convolution in the dtype of its input; the network draws the weights."""

    bias: nn.Parameter

    def reset_parameters(self) -> None:
        pass

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv1d(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class _BareLinear(nn.Linear):
    """A linear layer in the dtype of its input; the network draws the weights."""

    def reset_parameters(self) -> None:
        pass

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class _CastBatchNorm1d(nn.BatchNorm1d):
    """A batch norm that evaluates in the dtype of its input."""

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            return super().forward(x)
        values = self.running_mean, self.running_var, self.weight, self.bias
        mean, variance, weight, bias = (value.to(x.dtype) for value in values)
        return F.batch_norm(x, mean, variance, weight, bias, eps=self.eps)


class TabularCNN(nn.Module):
    """A 1D CNN that reads each row of a table as a sequence with one channel.

    The network consists of blocks Conv1d -> ReLU -> MaxPool1d and a head. The head has
    hidden layers Linear -> BatchNorm1d -> ReLU -> Dropout, where batch norm and dropout
    are optional, and a linear output layer. The defaults give the network of the paper
    [1]_ (Table 3). A kernel or a pool that is longer than its sequence is clamped to
    it.

    Parameters
    ----------
    n_features : int
        Number of columns of the table, the length of the sequence.
    n_outputs : int, default=1
        Number of outputs: one logit for two classes, otherwise one output per class
        or regression target.
    conv_channels : tuple of int, default=(8, 16)
        Output channels of each block; its length is the number of blocks. () gives a
        multilayer perceptron: the head without blocks.
    kernel_size, pool_size : int or tuple of int, default=3 and 2
        Kernel size of the convolutions and of the pools, one for all blocks or one
        per block.
    pool_stride : int or tuple of int, default=None
        Stride of the pools, `pool_size` if None.
    padding : int or "same", default="same"
        Number of zeros added on either side of each sequence before the convolution;
        "same" keeps the length.
    hidden_size : int or "auto", default="auto"
        Width of the hidden layer of the head; "auto" is twice the size of the
        flattened output of the blocks.
    hidden_layers : tuple of int, default=None
        Widths of several hidden layers; None means one layer of `hidden_size`.
    batch_norm : bool, default=False
        Whether the hidden layers have batch normalisation.
    dropout : float, default=0.0
        Dropout probability of the hidden layers, in [0, 1).
    variable_length : bool, default=False
        Whether rows may end in NaN padding, which is ignored: beyond the end of a
        row, convolutions read zeros, pools skip the positions, and the head reads
        zeros. A batch is computed up to the end of its longest row.
    projection : tuple of int, default=None
        Channels and positions to which a linear layer and a ReLU project the columns
        before the blocks. None means no projection: each column is one position of a
        single channel. Not supported with `variable_length`.
    input_clip : float, default=None
        Limit c of the smooth clipping of the inputs, x / sqrt(1 + (x / c)²) [2]_. None
        means no clipping.
    generator : torch.Generator, default=None
        Source of the initial weights; None means torch's global generator.

    Attributes
    ----------
    architecture : Architecture
        All sizes of the network.

    Raises
    ------
    ValueError
        If a size is impossible; the message names the parameter and block.

    See Also
    --------
    ReBatchCNNClassifier : Trains this network; its ``module_`` is one.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.
    .. [2] D. Holzmüller, L. Grinsztajn and I. Steinwart, "Better by Default: Strong
       Pre-Tuned MLPs and Boosted Trees on Tabular Data", NeurIPS 2024.

    Examples
    --------
    >>> import torch
    >>> from skrebatch import TabularCNN
    >>> network = TabularCNN(n_features=8)
    >>> network(torch.zeros(5, 8)).shape
    torch.Size([5, 1])
    """

    input_clip: torch.Tensor  # only if inputs are clipped

    def __init__(
        self,
        n_features: int,
        n_outputs: int = 1,
        conv_channels: Sequence[int] = (8, 16),
        kernel_size: int | Sequence[int] = 3,
        pool_size: int | Sequence[int] = 2,
        pool_stride: int | Sequence[int] | None = None,
        padding: int | str = "same",
        hidden_size: int | str = "auto",
        hidden_layers: Sequence[int] | None = None,
        batch_norm: bool = False,
        dropout: float = 0.0,
        variable_length: bool = False,
        projection: Sequence[int] | None = None,
        input_clip: float | None = None,
        *,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        check_input_clip(input_clip, torch.float32)
        self._build(
            build_architecture(
                n_features,
                n_outputs,
                conv_channels,
                kernel_size,
                pool_size,
                pool_stride,
                padding,
                hidden_size,
                hidden_layers,
                batch_norm,
                dropout,
                variable_length,
                projection,
                input_clip is not None,
            )
        )
        if input_clip is not None:
            self.input_clip.fill_(float(input_clip))
        self.reset_parameters(generator)

    @classmethod
    def from_architecture(
        cls,
        architecture: Architecture,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> TabularCNN:
        """Create a network of the given sizes with undefined weights.

        Parameters
        ----------
        architecture : Architecture
            All sizes of the network.
        dtype : torch.dtype, default=torch.float32
            Dtype of the parameters.
        device : torch.device or str, default=None
            Device of the parameters; None means torch's default.

        Returns
        -------
        network : TabularCNN
            Its parameters, and its limit of the inputs, are allocated but not
            initialised.
        """
        network = cls.__new__(cls)
        nn.Module.__init__(network)
        network._build(architecture, dtype, device)
        return network

    def _build(
        self,
        architecture: Architecture,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        kind: dict[str, Any] = {"dtype": dtype, "device": device}
        self.architecture = architecture
        if architecture.clips_inputs:
            self.register_buffer("input_clip", torch.empty((), **kind))
        if architecture.projection is not None:
            n_in, n_out = architecture.n_features, architecture.projected_size
            self.projection: nn.Linear = _BareLinear(n_in, n_out, **kind)
        layers: list[nn.Module] = []
        for block in architecture.blocks:
            conv = _BareConv1d(
                block.in_channels,
                block.out_channels,
                block.kernel_size,
                **kind,
            )
            pool = nn.MaxPool1d(block.pool_size, block.pool_stride)
            pad = nn.ConstantPad1d((block.left, block.right), 0.0)
            layers += [nn.Sequential(pad, conv, nn.ReLU(), pool)]
        self.features: nn.Sequential = nn.Sequential(*layers)
        head: list[nn.Module] = []
        *hidden, last = architecture.linear_sizes
        for n_in, n_out in hidden:
            head.append(_BareLinear(n_in, n_out, **kind))
            if architecture.batch_norm:
                head.append(_CastBatchNorm1d(n_out, **kind))
            head.append(nn.ReLU())
            if architecture.dropout:
                head.append(nn.Dropout(architecture.dropout))
        self.head: nn.Sequential = nn.Sequential(*head, _BareLinear(*last, **kind))

    def norms(self) -> list[nn.BatchNorm1d]:
        """Return the batch norms.

        Returns
        -------
        norms : list of torch.nn.BatchNorm1d
            The batch norms of the hidden layers, in order.
        """
        return [layer for layer in self.head if isinstance(layer, nn.BatchNorm1d)]

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights from the default distributions of torch.

        Parameters
        ----------
        generator : torch.Generator, default=None
            Source of the weights; None means torch's global generator.
        """
        for norm in self.norms():
            norm.reset_running_stats()
        parameters = iter(self.parameters())
        for weight, bias in zip(parameters, parameters, strict=True):
            draw_weights(weight, bias, generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the raw outputs, before sigmoid or softmax, in the dtype of x.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            With `variable_length`, rows may end in NaN.

        Returns
        -------
        outputs : torch.Tensor of shape (n_samples, n_outputs)
            Logits, or predictions of the targets.

        Raises
        ------
        TypeError
            If the dtype of x is not a floating-point dtype.
        """
        if not x.is_floating_point():
            raise TypeError(f"x must hold floating-point numbers, got {x.dtype}.")
        if self.architecture.clips_inputs:
            x = clip_smoothly(x, self.input_clip.to(x.dtype))
        if self.architecture.variable_length:
            return self._forward_padded(x)
        x = self.features(self._as_sequences(x))  # -> (n, C, L)
        return self.head(x.flatten(1))  # (n, C * L) -> (n, n_outputs)

    def _as_sequences(self, x: torch.Tensor) -> torch.Tensor:
        """Turn rows (n, F) into sequences (n, C, L), projected if so configured."""
        if self.architecture.projection is None:
            return x.unsqueeze(1)  # (n, 1, F)
        channels, positions = self.architecture.projection
        x = F.relu(self.projection(x))  # position by position: (n, L * C)
        return x.unflatten(1, (positions, channels)).transpose(1, 2)

    def _forward_padded(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the outputs of rows that end in NaN, up to the longest row's end."""
        ends = x.isnan().logical_not().sum(1)  # (n,)
        x = x.nan_to_num(0.0).unsqueeze(1)  # (n, 1, F)
        pooled_length = x.shape[-1]
        layer: Any
        for block, layer in zip(self.architecture.blocks, self.features, strict=True):
            conv_ends, ends = block.conv_ends(ends), block.pooled_ends(ends)
            pooled_length = int(ends.max()) if len(ends) else 1
            length = (pooled_length - 1) * block.pool_stride + block.pool_size
            # Cuts only positions beyond the end of every row.
            right = length + block.kernel_size - 1 - block.left - x.shape[-1]
            x = layer[1:-1](F.pad(x, (block.left, right)))  # (n, C, L)
            beyond = torch.arange(length, device=x.device) >= conv_ends[:, None]
            # After ReLU no value is negative, so zeros do not affect the pools.
            x = layer[-1](x.masked_fill(beyond[:, None], 0))
        first: Any = self.head[0]
        weight = first.weight.unflatten(1, (x.shape[1], -1))[..., :pooled_length]
        weight, bias = weight.flatten(1).to(x.dtype), first.bias.to(x.dtype)
        return self.head[1:](F.linear(x.flatten(1), weight, bias))


class Ensemble(nn.Module):
    """Several networks that are applied to the same rows.

    Parameters
    ----------
    networks : list of TabularCNN

    Attributes
    ----------
    networks : torch.nn.ModuleList
    """

    def __init__(self, networks: Sequence[TabularCNN]):
        super().__init__()
        self.networks: nn.ModuleList = nn.ModuleList(networks)
        self.eval()

    def members(self) -> list[TabularCNN]:
        """Return the networks."""
        return [net for net in self.networks if isinstance(net, TabularCNN)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the raw outputs of every network.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        outputs : torch.Tensor of shape (n_networks, n_samples, n_outputs)
        """
        return torch.stack([network(x) for network in self.networks])


def as_module(networks: Sequence[TabularCNN]) -> TabularCNN | Ensemble:
    """Return the only network, or an :class:`Ensemble` of several."""
    return networks[0] if len(networks) == 1 else Ensemble(networks)


def networks_of(module: TabularCNN | Ensemble) -> list[TabularCNN]:
    """Return the networks of a module made by :func:`as_module`."""
    return [module] if isinstance(module, TabularCNN) else module.members()
