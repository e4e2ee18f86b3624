"""How much of the time of a training is arithmetic that any program would need?

The operations of one epoch are recorded: those of the training steps and those of the
pass that computes the losses. Their matrix products are then called again, and nothing
else, with the same sizes. The time of the products is what the processor needs for the
arithmetic; their share of the time of the epoch says how close the engine is to it.
"""

import time
from contextlib import ExitStack, contextmanager, nullcontext
from unittest.mock import patch

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skrebatch._engine.training.net import ReBatchNet

# The methods of the engine that are watched.
PARTS = {"training": "_train_batches", "losses": "_latest_losses"}
PRODUCTS = "bmm", "baddbmm", "mm", "addmm"
SQUARES = 64, 128, 256, 512, 1024
COPIED = {"cache": 2**16, "memory": 2**26}  # float32 values
REPLAYS = 15


class Recorder(TorchDispatchMode):
    """Keep all operations of torch, with their arguments, to call them again."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not function.is_view:
            self.calls.append((function, args, kwargs))
        return function(*args, **kwargs)

    def split(self):
        """Return the matrix products, and the other operations."""
        products, others = [], []
        for call in self.calls:
            name = call[0].overloadpacket.__name__
            (products if name in PRODUCTS else others).append(call)
        return products, others


def watch(around):
    """Call the watched methods of a net within contexts `around(part, net)`."""
    stack = ExitStack()
    for part, name in PARTS.items():
        method = getattr(ReBatchNet, name)

        def run(net, *args, part=part, method=method):
            with around(part, net):
                return method(net, *args)

        stack.enter_context(patch.object(ReBatchNet, name, run))
    return stack


def time_parts(fit):
    """Return the CPU seconds of a fit: of each watched part, and of the rest."""
    seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def timed(part, net):
        start = time.process_time()
        yield
        seconds[part] += time.process_time() - start

    with watch(timed):
        start = time.process_time()
        fit()
        total = time.process_time() - start
    return seconds | {"rest": total - sum(seconds.values())}


def record_epoch(fit, epoch=3):
    """Return the recorders of each part of an epoch, one for each stack of networks."""
    found = {part: [] for part in PARTS}

    def recorded(part, net):
        if len(net.history) != epoch:
            return nullcontext()
        found[part].append(Recorder())
        return found[part][-1]

    with watch(recorded):
        fit()
    return found


def replay(calls):
    """Return the CPU seconds of calls that follow one another."""
    times = []
    for _ in range(REPLAYS):
        start = time.process_time()
        for function, args, kwargs in calls:
            function(*args, **kwargs)
        times.append(time.process_time() - start)
    return float(np.median(times))


def count_operations(products):
    """Count the additions and multiplications of matrix products."""
    return sum(2 * args[0].numel() * args[1].shape[-1] for _, args, _ in products)


def limits_of(fit):
    """Return what an epoch takes at least, by part.

    "products" and "others" are the CPU seconds of the matrix products and of the other
    operations; "operations" is the number of additions and multiplications.
    """
    limits = {}
    for part, recorders in record_epoch(fit).items():
        pairs = [recorder.split() for recorder in recorders]
        limits[part] = {
            "products": sum(replay(products) for products, _ in pairs),
            "others": sum(replay(others) for _, others in pairs),
            "operations": sum(count_operations(products) for products, _ in pairs),
        }
    return limits


def rates():
    """Measure the rates of a core.

    "product" has the operations a second of square products by size, and "copy" the
    bytes a second, read and written, by where the values are.
    """
    found = {"product": {}, "copy": {}}
    for size in SQUARES:
        a, out = torch.ones(size, size), torch.empty(size, size)
        calls = [(torch.mm, (a, a), {"out": out})] * (2**31 // (2 * size**3) or 1)
        found["product"][size] = 2 * size**3 * len(calls) / replay(calls)
    for name, size in COPIED.items():
        a, out = torch.ones(size), torch.empty(size)
        calls = [(out.copy_, (a,), {})] * (2**26 // size)
        found["copy"][name] = 8 * size * len(calls) / replay(calls)
    return found
