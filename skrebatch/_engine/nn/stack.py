"""K networks of one architecture, trained together with explicit gradients.

For tiny networks the overhead of each operation dominates the training time, not the
arithmetic. :class:`CNNStack` therefore holds K networks in one matrix of parameters.
Its forward and backward passes are about forty batched operations on preallocated
memory, without autograd.

Parameter 0 of each network is a constant zero; kernel taps beyond the border of a
sequence read it. Its gradient is always zero, so it stays zero under every optimizer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from skrebatch._engine.nn.architecture import Architecture, shorten
from skrebatch._engine.nn.linear import LinearLayout
from skrebatch._engine.nn.short_rows import ShortStep, pair_parts
from skrebatch._engine.nn.step import (
    FIRST_SCALE,
    MixedStep,
    Step,
    layout_of,
    update_scales,
)
from skrebatch._engine.nn.tabular_cnn import TabularCNN, draw_weights
from skrebatch._engine.nn.workspace import Workspace
from skrebatch._utils.typing import Floats


class CNNStack(nn.Module):
    """K networks of one architecture in one matrix of parameters.

    Parameters
    ----------
    architecture : Architecture
        Sizes of every network.
    group_sizes : sequence of int, default=(1,)
        Number of networks of each group; the sum is K. The networks of a group take
        optimizer steps together: each group is one parameter of the module, of shape
        (group size, n_parameters).
    dtype : torch.dtype, default=torch.float32
    device : torch.device or str, default="cpu"
    precision : torch.dtype, default=None
        Lower-precision dtype of the training steps; parameters and evaluation keep
        `dtype`. None means `dtype`.

    Attributes
    ----------
    groups : torch.nn.ParameterList
        The parameters of each group; views of rows of `flat`.
    flat, grad : torch.Tensor of shape (K, n_parameters)
        The parameters of the live groups and, after `backward` of a step, their
        gradients.
    running : torch.Tensor of shape (K, n_running)
        Other state: the limit of the inputs, where they are clipped; running means and
        variances of batch norms; in float16 also the gradient scale and the number of
        steps since its last change.
    """

    def __init__(
        self,
        architecture: Architecture,
        group_sizes: Sequence[int] = (1,),
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        precision: torch.dtype | None = None,
    ):
        super().__init__()
        self.architecture = architecture
        self.precision = None if precision == dtype else precision
        self.layout = layout_of(architecture, torch.device(device))
        n_parameters = self.layout.n_parameters
        self.groups = nn.ParameterList(
            nn.Parameter(torch.zeros(size, n_parameters, dtype=dtype, device=device))
            for size in group_sizes
        )
        first = self._first_running().to(device, dtype)
        for i, size in enumerate(group_sizes):
            self.register_buffer(f"running{i}", first.repeat(size, 1))
        self._rebind_views()

    @property
    def _scales(self) -> bool:
        """Whether gradients are scaled, to prevent underflow."""
        return self.precision == torch.float16

    def _first_running(self) -> torch.Tensor:
        """Return the initial running values of a network."""
        n_values = self.layout.n_running + 2 * self._scales
        values = torch.zeros(n_values, dtype=torch.float32, device="cpu")
        for norm in self.layout.norms:
            values[norm.variance] = 1
        if self._scales:
            values[-2] = FIRST_SCALE
        return values

    def _rebind_views(self, live: Sequence[bool] | None = None) -> None:
        """Rebuild `flat`, and make the (live) groups views of its rows."""
        on = [i for i in range(len(self.groups)) if live is None or live[i]]
        self.live_groups = [self.groups[i] for i in on]
        with torch.no_grad():
            self.flat = torch.cat([group.detach() for group in self.live_groups])
            self.grad = torch.zeros_like(self.flat)
            rows = self.flat.split([len(group) for group in self.live_groups])
            for group in self.groups:
                group.grad, group.data = None, group.detach().clone()
            for group, share in zip(self.live_groups, rows, strict=True):
                group.data = share
            buffers = [buffer.clone() for buffer in self.buffers()]
            self.running = torch.cat([buffers[i] for i in on])
            for i, share in zip(
                on, self.running.split([len(buffers[i]) for i in on]), strict=True
            ):
                buffers[i] = share
            for i, buffer in enumerate(buffers):
                setattr(self, f"running{i}", buffer)
        self.layout = layout_of(self.architecture, self.flat.device)
        self._workspaces: dict[bool, tuple[Workspace, dict[tuple[int, int], Step]]] = {}
        self._shorts: dict[Architecture, CNNStack] = {}
        self._short_steps: dict[Any, ShortStep] = {}

    def _apply(self, fn: Any, recurse: bool = True) -> CNNStack:
        """Move or cast the parameters, and rebuild the views."""
        super()._apply(fn, recurse)
        self._rebind_views()
        return self

    def set_live_groups(self, live: Sequence[bool]) -> None:
        """Restrict `flat`, and thus the steps, to some groups.

        The other groups keep their parameters and can be made live again.

        Parameters
        ----------
        live : sequence of bool, one per group
        """
        self._rebind_views(live)

    def __getstate__(self) -> dict[str, Any]:
        """Exclude what can be rebuilt from the parameters."""
        state = self.__dict__.copy()
        for name in ("flat", "grad", "running", "live_groups", "layout", "_workspaces"):
            del state[name]
        del state["_shorts"], state["_short_steps"]
        # Each pickled view would contain the whole matrix.
        copies = (nn.Parameter(group.detach().clone()) for group in self.groups)
        state["_modules"] = {**self._modules, "groups": nn.ParameterList(copies)}
        state["_buffers"] = {n: buffer.clone() for n, buffer in self.named_buffers()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the parameters, and rebuild the views."""
        super().__setstate__(state)
        self._rebind_views()

    def step(self, K: int, b: int, forward_only: bool = False) -> Step:
        """Return the step of the first K networks on batches of b rows.

        All steps share their memory, so only one step can be used at a time.
        """
        workspace, steps = self._workspaces.get(forward_only, (None, {}))
        if workspace is None or workspace.b < b:
            like = self.flat
            if self.precision is not None and not forward_only:
                like = self.flat.new_empty(0, dtype=self.precision)
            workspace, steps = Workspace(like, len(self.flat), b, forward_only), {}
            self._workspaces[forward_only] = workspace, steps
            # The largest step comes first: it allocates the memory for all steps.
            steps[len(self.flat), b] = self._make_step(workspace, len(self.flat), b)
        step = steps.get((K, b))
        if step is None:
            step = steps[K, b] = self._make_step(workspace, K, b)
        return step

    def _make_step(self, workspace: Workspace, K: int, b: int) -> Step:
        flat, grad, running = self.flat[:K], self.grad[:K], self.running[:K]
        if workspace.like.dtype == self.flat.dtype:
            return Step(self.layout, flat, grad, running, workspace, b)
        scale = running[:, -2] if self._scales else None
        return MixedStep(self.layout, flat, grad, running, workspace, b, scale)

    def short_step(
        self, K: int, b: int, length: int, forward_only: bool = False
    ) -> Step | ShortStep:
        """Return a step like :meth:`step` does, for rows of at most `length` values."""
        architecture = shorten(self.architecture, length)
        if architecture == self.architecture:
            return self.step(K, b, forward_only)
        short = self._shorts.get(architecture)
        if short is None:
            sizes = (len(self.flat),)
            short = CNNStack(architecture, sizes, self.flat.dtype, self.flat.device)
            self._shorts[architecture] = short
        step = short.step(K, b, forward_only)
        key = architecture, K, b, forward_only
        short_step = self._short_steps.get(key)
        if short_step is None or short_step.step is not step:
            workspace = short._workspaces[forward_only][0]
            short_step = self._short_steps[key] = ShortStep(
                step,
                workspace,
                (short.layout, self.layout),
                (short.flat[:K], self.flat[:K]),
                (short.grad[:K], self.grad[:K]),
                (short.running[:K], self.running[:K]),
            )
        return short_step

    def shortened(self, architecture: Architecture) -> CNNStack:
        """Return a stack for short rows with copies of the weights.

        Parameters
        ----------
        architecture : Architecture
            The shortened architecture.
        """
        flat = self.flat
        short = CNNStack(architecture, (len(flat),), flat.dtype, flat.device)
        layouts = short.layout, self.layout
        with torch.no_grad():
            for part, full in pair_parts(layouts, (short.flat, flat)):
                part.copy_(full)
            short.running.copy_(self.running)
        return short

    def activate(self, active: Sequence[bool]) -> None:
        """Set which networks the next optimizer steps update.

        Groups without active networks get no gradient, so the optimizer changes
        neither their parameters nor its state for them.

        Parameters
        ----------
        active : sequence of bool, one per network
        """
        start = 0
        for group in self.live_groups:
            stop = start + len(group)
            group.grad = self.grad[start:stop] if any(active[start:stop]) else None
            start = stop

    def skip_overflows(self, active: Sequence[bool]) -> None:
        """Exclude networks with overflowed gradients from the next optimizer step.

        The gradient scales are updated as well. Only for float16, where every group
        has one network.

        Parameters
        ----------
        active : sequence of bool
            Which networks took part in the last step.
        """
        finite = self.grad.isfinite().all(dim=1)
        at_work = torch.tensor(active, device=finite.device)
        scale, steps = self.running[at_work, -2:].unbind(1)
        update_scales(scale, steps, finite[at_work])
        self.running[at_work, -2:] = torch.stack([scale, steps], dim=1)
        self.activate((finite & at_work).tolist())

    def state_of(self, k: int) -> torch.Tensor:
        """Return the state of network k: its parameters, then its running values."""
        if not self.running.shape[1]:
            return self.flat[k]
        return torch.cat([self.flat[k], self.running[k]])

    def restore(self, k: int, state: torch.Tensor) -> None:
        """Set network k to a state from :meth:`state_of`."""
        n_parameters = self.flat.shape[1]
        self.flat[k], self.running[k] = state[:n_parameters], state[n_parameters:]

    def release(self) -> None:
        """Free the memory of all steps and gradients."""
        self._workspaces, self._shorts, self._short_steps = {}, {}, {}
        for group in self.groups:
            group.grad = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the raw outputs of every network on the same rows.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        outputs : torch.Tensor of shape (K, n_samples, n_outputs)
        """
        with torch.no_grad():
            step = self.step(len(self.flat), len(x), forward_only=True)
            table = append_constants(x, self.architecture.variable_length)
            step.rows.unflatten(0, (-1, len(x))).copy_(table)
            return step.forward().clone()

    def read_all(self) -> list[TabularCNN]:
        """Copy every network into a :class:`TabularCNN`.

        Returns
        -------
        networks : list of K TabularCNN
            On the same device, in evaluation mode.
        """
        networks: list[TabularCNN] = []
        with torch.no_grad():
            # Reorder to torch's layout for all networks at once.
            layers = [view.contiguous().unbind() for view in self._views()]
            for values in zip(*layers, strict=True):
                network = TabularCNN.from_architecture(
                    self.architecture, self.flat.dtype, self.flat.device
                )
                for value, parameter in zip(values, network.parameters(), strict=True):
                    parameter.copy_(value.view(parameter.shape))
                for value, buffer in self._running_of(len(networks), network):
                    buffer.copy_(value)
                networks.append(network.eval())
        return networks

    def write(self, k: int, network: TabularCNN) -> None:
        """Copy the weights of a :class:`TabularCNN` into network k.

        Parameters
        ----------
        k : int
            Index of the network, in [0, K).
        network : TabularCNN
            A network of the same architecture.

        Raises
        ------
        ValueError
            If the architectures differ.
        """
        if network.architecture != self.architecture:
            raise ValueError(
                "The architecture of the network differs from that of the stack."
            )
        with torch.no_grad():
            for view, parameter in zip(
                self._views(), network.parameters(), strict=True
            ):
                view[k].copy_(parameter.view(view[k].shape))
            for value, buffer in self._running_of(k, network):
                value.copy_(buffer)

    def draw(self, k: int, generator: torch.Generator) -> None:
        """Draw new weights for network k, equal to those that TabularCNN draws.

        Parameters
        ----------
        k : int
            Index of the network, in [0, K).
        generator : torch.Generator
            Source of the weights.
        """
        views = iter(self._views())
        self.running[k].copy_(self._first_running())
        with torch.no_grad():
            for weights, biases in zip(views, views, strict=True):
                weight, bias = weights[k], biases[k]
                new_weight = torch.empty(weight.shape, dtype=torch.float32)
                new_bias = torch.empty(bias.shape, dtype=torch.float32)
                draw_weights(new_weight, new_bias, generator)
                weight.copy_(new_weight)
                bias.copy_(new_bias)

    def fix_outputs(self, k: int, constants: Floats) -> None:
        """Set the output layer of network k so that some outputs are constant.

        Parameters
        ----------
        k : int
            Index of the network, in [0, K).
        constants : ndarray of shape (n_outputs,)
            The constant outputs; NaN for those to leave unchanged.
        """
        values = torch.from_numpy(constants)
        matrix = self._matrix(self.layout.linears[-1])[k]  # (O, hidden + 1)
        with torch.no_grad():
            for output in values.isfinite().nonzero().flatten().tolist():
                matrix[output, :-1] = 0
                matrix[output, -1] = values[output]

    def clip_inputs(self, k: int, limit: float) -> None:
        """Set the limit of the clipped inputs of network k.

        Parameters
        ----------
        k : int
            Index of the network, in [0, K).
        limit : float
        """
        self.running[k, self.layout.limit] = limit

    def _running_of(
        self, k: int, network: TabularCNN
    ) -> Iterator[tuple[torch.Tensor, Any]]:
        """Pair the running values of network k with the buffers of a module."""
        row = self.running[k]
        if self.architecture.clips_inputs:
            yield row[self.layout.limit], network.input_clip
        for layout, norm in zip(self.layout.norms, network.norms(), strict=True):
            yield row[layout.mean], norm.running_mean
            yield row[layout.variance], norm.running_var

    def _views(self) -> list[torch.Tensor]:
        """Return views of all parameters in torch's order: weight, bias, weight, ...

        The shapes are K followed by torch's shape, except for the first weight of the
        head after blocks: it is (K, hidden, channels, positions).
        """
        views = []
        if self.layout.projection is not None:
            matrix = self._matrix(self.layout.projection)
            views += [matrix[..., :-1], matrix[..., -1]]
        for layout in self.layout.blocks:
            kernel_size, c_in, c_out = layout.kernel_shape
            cells = self.flat[:, layout.cells]
            kernel = cells[:, :-c_out].unflatten(1, (kernel_size, c_in, c_out))
            views += [kernel.permute(0, 3, 2, 1), cells[:, -c_out:]]
        norms = iter(self.layout.norms)
        for i, linear in enumerate(self.layout.linears):
            matrix = self._matrix(linear)
            weight = matrix[..., :-1]
            if i == 0 and self.architecture.blocks:
                last = self.architecture.blocks[-1]
                # Ordered by position first; in torch by channel first.
                shape = last.pooled_length, last.out_channels
                weight = weight.unflatten(2, shape).transpose(2, 3)
            views += [weight, matrix[..., -1]]
            for norm in itertools.islice(norms, 1):
                views += [self.flat[:, norm.weight], self.flat[:, norm.bias]]
        return views

    def _matrix(self, layout: LinearLayout) -> torch.Tensor:
        """View a linear layer (K, rows, columns); the bias is the last column."""
        return self.flat[:, layout.cells].unflatten(1, (layout.rows, layout.columns))


def append_constants(x: torch.Tensor, variable_length: bool = False) -> torch.Tensor:
    """Append the columns 1 and 0 that CNNStack expects after the features.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
    variable_length : bool, default=False
        Whether rows may end in NaN. NaN is replaced by zero, and a last column holds
        the length of each row.

    Returns
    -------
    table : torch.Tensor of shape (n_samples, n_features + 2 or 3)
    """
    columns = [x, x.new_tensor([1.0, 0.0]).expand(len(x), 2)]
    if variable_length:
        lengths = x.isnan().logical_not().sum(1, keepdim=True)
        columns = [x.nan_to_num(0.0), columns[1], lengths.to(x.dtype)]
    return torch.cat(columns, dim=1)
