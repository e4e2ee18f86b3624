"""Samplers and the skorch callback, which determine the order of the samples."""

from skrebatch.sampling._by_length import DynamicBatchSampler
from skrebatch.sampling._interval import (
    IntervalInsertionSampler,
    interval_insertion,
    redistribution_size,
)
from skrebatch.sampling._skorch_callback import ReBatch

__all__ = [
    "DynamicBatchSampler",
    "IntervalInsertionSampler",
    "ReBatch",
    "interval_insertion",
    "redistribution_size",
]
