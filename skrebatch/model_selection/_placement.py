"""Data of stacks, sent once to each worker of a cluster."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from joblib.parallel import get_active_backend

from skrebatch.estimators._fit_data import PreparedFit
from skrebatch.model_selection._folds import Task


class RemoteData:
    """The data of all stacks, stored apart from the stacks.

    A cluster sends each piece of data once to each worker, for all stacks.
    """

    def __init__(self) -> None:
        self.backend, _ = get_active_backend()
        self.sent: dict[int, tuple[Any, Any]] = {}  # id of the data: data, reference

    def take_from(self, tasks: list[Task], fits: list[PreparedFit] | None) -> list[Any]:
        """Replace the data of tasks and fits by positions in the list returned."""
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
                selection = member.selection
                selection.rows = place(selection.rows)
                selection.labels = place(selection.labels)
        return [self._reference(data) for _, data in taken.values()]

    def _reference(self, data: Any) -> Any:
        """Return a reference to data, which is sent to a cluster only once."""
        if id(data) not in self.sent:
            self.sent[id(data)] = data, self._to_remote(data)
        return self.sent[id(data)][1]

    def _to_remote(self, data: Any) -> Any:
        """Send data to the cluster and return a reference; without one, the data."""
        kind = type(self.backend).__name__
        if kind == "RayBackend":
            return sys.modules["ray"].put(data)
        if kind != "DaskDistributedBackend":
            return data
        # Dask recomputes the result of a task when its worker is lost; scattered data
        # could be lost.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            return self.backend.client.submit(_identity, data, pure=False)


def _identity(data: Any) -> Any:
    return data


def _get(data: Any) -> Any:
    """Return the data behind a reference, or data that were not sent anywhere."""
    ray, dask = map(sys.modules.get, ("ray", "distributed"))
    if ray is not None and isinstance(data, ray.ObjectRef):
        return ray.get(data)
    # Dask resolves references for its workers, but joblib runs a single call here.
    if dask is not None and isinstance(data, dask.Future):
        return data.result()
    return data


def put_back(tasks: list[Task], fits: list[PreparedFit] | None, data: Any) -> None:
    """Replace the positions in tasks and fits by the data."""
    data = [_get(one) for one in data]
    for task in tasks:
        task.fold = data[task.fold]
    for fit in fits or []:
        for pieces in (fit.job.X, fit.job.targets):
            pieces[:] = [data[place] for place in pieces]
        for member in fit.job.members:
            member.rows = data[member.rows]
            member.selection.rows = data[member.selection.rows]
            member.selection.labels = data[member.selection.labels]
