"""Data of stacks that are trained on a cluster: sent to each worker once."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from joblib.parallel import get_active_backend

from skrebatch.estimators._preparation import PreparedFit
from skrebatch.model_selection._folds import Task


class RemoteData:
    """The data of all stacks, apart from the stacks, which tell their places.

    On a cluster they are sent to each worker once, however many stacks need them.
    """

    def __init__(self) -> None:
        self.backend, _ = get_active_backend()
        self.sent: dict[int, tuple[Any, Any]] = {}  # by identity: data, what stands in

    def take_from(self, tasks: list[Task], fits: list[PreparedFit] | None) -> list[Any]:
        """Take the data out of tasks and fits, and leave their places in the list."""
        taken: dict[int, tuple[int, Any]] = {}

        def place(data: Any) -> Any:
            return taken.setdefault(id(data), (len(taken), data))[0]

        for task in tasks:
            task.fold = place(task.fold)
        for fit in fits or []:
            job = fit.job
            job.X, job.targets = [*map(place, job.X)], [*map(place, job.targets)]
            for member in job.members:
                member.rows = place(member.rows)
                member.selection.labels = place(member.selection.labels)
        return [self._hand_over(data) for _, data in taken.values()]

    def _hand_over(self, data: Any) -> Any:
        """Give data to the cluster, if there is one, the first time it is seen."""
        if id(data) not in self.sent:
            self.sent[id(data)] = data, self._to_remote(data)
        return self.sent[id(data)][1]

    def _to_remote(self, data: Any) -> Any:
        """Return what stands for data in the arguments of a call."""
        kind = type(self.backend).__name__
        if kind == "RayBackend":
            return sys.modules["ray"].put(data)
        if kind != "DaskDistributedBackend":
            return data
        # The result of a task: what is scattered may be lost with its worker, a task
        # is run again.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            return self.backend.client.submit(_identity, data, pure=False)


def _identity(data: Any) -> Any:
    return data


def _get(data: Any) -> Any:
    """Return data, whether they stand for themselves or a cluster holds them."""
    ray, dask = map(sys.modules.get, ("ray", "distributed"))
    if ray is not None and isinstance(data, ray.ObjectRef):
        return ray.get(data)
    # Dask gives its workers the data themselves; joblib works here if there is but one.
    if dask is not None and isinstance(data, dask.Future):
        return data.result()
    return data


def put_back(tasks: list[Task], fits: list[PreparedFit] | None, data: Any) -> None:
    """Put the data back that were taken out of tasks and fits."""
    data = [_get(one) for one in data]
    for task in tasks:
        task.fold = data[task.fold]
    for fit in fits or []:
        for pieces in (fit.job.X, fit.job.targets):
            pieces[:] = [data[place] for place in pieces]
        for member in fit.job.members:
            member.rows = data[member.rows]
            member.selection.labels = data[member.selection.labels]
