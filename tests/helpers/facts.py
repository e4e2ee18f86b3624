"""Everything about a fitted estimator that can be compared."""

import joblib
import numpy as np


def facts_of(model):
    """All that a fit has found out, a checksum for each."""
    found = {name: value for name, value in vars(model).items() if name.endswith("_")}
    state = model._fit_state
    found |= {"rngs": state.rngs, "selection_states": state.selection_states}
    found["split_seed"] = state.split_seed
    net = found.pop("net_")
    found["history_"] = [
        {name: value for name, value in row.items() if name != "dur"}
        for row in found.pop("history_")
    ]
    found["module_"] = [p.numpy() for p in model.module_.state_dict().values()]
    found["optimizer"] = [
        {n: np.asarray(value) for n, value in net.optimizer_.state[group].items()}
        for group in net.module_.groups
    ]
    found["rates"] = [own and own.state_dict() for own in state.lr_schedules]
    found["logs"] = [log and log.state_dict() for log in state.logs]
    # Of parts that are equal, whether or not they are the same object.
    return {name: joblib.hash(repr_of(value)) for name, value in found.items()}


def repr_of(value):
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return [(name, repr_of(own)) for name, own in value.items()]
    if isinstance(value, list | tuple):
        return [repr_of(own) for own in value]
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if hasattr(value, "weights") and hasattr(value, "chosen"):  # a plan
        return repr_of(vars(value))
    return repr(value)
