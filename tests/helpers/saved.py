"""What saved and loaded estimators have in common."""

import numpy as np
import torch

from helpers.estimators import assert_same_bits

# What no file keeps: the net is made anew by the next training.
LEFT_OUT = {"net_"}
# What can't be compared as a whole.
OBJECTS = ("history_",)


def assert_same_state(model, twin):
    """Expect everything that two estimators hold to be the same, to the bit."""
    assert type(model) is type(twin)
    assert repr(model.get_params()) == repr(twin.get_params())
    assert vars(model).keys() - LEFT_OUT == vars(twin).keys() - LEFT_OUT
    assert_same_bits(model, twin)
    for name, value in vars(model).items():
        if isinstance(value, np.ndarray):
            other = getattr(twin, name)
            np.testing.assert_array_equal(value, other)
            assert value.dtype == other.dtype
            assert other.flags.writeable
        elif isinstance(value, list | int | float | str) and name not in OBJECTS:
            assert repr(value) == repr(getattr(twin, name)), name
    for name in ("split_seed", "data_hash", "max_epochs"):
        state, other = model._fit_state, twin._fit_state
        assert getattr(state, name) == getattr(other, name)
    for own, other in zip(model._fit_state.rngs, twin._fit_state.rngs, strict=True):
        assert own.bit_generator.state == other.bit_generator.state
    for own, other in zip(model.history_, twin.history_, strict=True):
        assert {**own, "dur": 0} == {**other, "dur": 0}
    assert str(model.module_) == str(twin.module_)
    own, other = model.module_.state_dict(), twin.module_.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert not twin.module_.training
    grads = [p.requires_grad for p in model.module_.parameters()]
    assert grads == [p.requires_grad for p in twin.module_.parameters()]
