"""Training of jobs in one stack; every fit ends up here."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skrebatch._engine.nn.threads import one_thread_if
from skrebatch._engine.training.continuation import extract
from skrebatch._engine.training.epoch_plan import stack_table
from skrebatch._engine.training.members import Job
from skrebatch._engine.training.net import ReBatchNet, make_net
from skrebatch._utils.settings import with_default_settings


@dataclass
class Result:
    """The result of a job: the net that trained it, or an error."""

    job: Job
    stack: ReBatchNet | None = None
    error: Exception | None = None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the training."""
        return self.stack is not None and self.stack.interrupted_

    def raise_error(self) -> None:
        """Raise the error, if there is one."""
        if self.error is not None:
            raise self.error
        if all(member.epochs == 0 for member in self.job.members):
            raise KeyboardInterrupt  # raised before the first epoch; skorch caught it

    @with_default_settings
    def net(self) -> ReBatchNet:
        """Return a net of the job alone, without the other jobs of its stack."""
        assert self.stack is not None
        return extract(self.stack, self.job)


@with_default_settings
def run_jobs(
    jobs: Sequence[Job],
    callbacks: list[Any] | None = None,
    net: ReBatchNet | None = None,
) -> list[Result]:
    """Train all networks of the jobs in one stack.

    If the training of several jobs raises an error, a single job may be the cause.
    Each job is then trained again alone, so that the other jobs get a result.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs; all must have the same `stack_key`.
    callbacks : list of skorch.callbacks.Callback, default=None
        Callbacks of the stack.
    net : ReBatchNet, default=None
        A net to continue with a job of one epoch. It is unchanged if the training
        fails.

    Returns
    -------
    results : list of Result
        The result of each job.
    """
    jobs = list(jobs)
    members = [member for job in jobs for member in job.members]
    before = [member.snapshot() for member in members] if len(jobs) > 1 else []
    try:
        stack = _train(jobs, callbacks, net)
    except Exception as error:
        if len(jobs) == 1:
            return [Result(jobs[0], error=error)]
        for member, snapshot in zip(members, before, strict=True):
            member.restore(snapshot)
        return [run_jobs([job], callbacks)[0] for job in jobs]
    return [_result_of(job, stack) for job in jobs]


def _result_of(job: Job, stack: ReBatchNet) -> Result:
    """Return the result of a job of a trained stack."""
    errors = [member.error for member in job.members if member.error is not None]
    return Result(job, stack, errors[0] if errors else None)


def _train(
    jobs: list[Job], callbacks: list[Any] | None, net: ReBatchNet | None
) -> ReBatchNet:
    """Train the jobs in one stack; raise an error only if the whole stack fails."""
    table = stack_table(jobs)
    if net is None:
        stack = make_net(jobs, callbacks)
        guard: Any = contextlib.nullcontext()
    else:
        stack, guard = net, net.unchanged_on_error()
    with guard, one_thread_if(stack.is_small):
        if net is None:
            stack.fit(table)
        else:
            stack.partial_fit(table, epochs=1)
        if stack.interrupted_ and jobs[0].members[0].shared:
            raise KeyboardInterrupt  # the other processes are at another step
        stack.collect(table, jobs)
        if net is not None:
            # Raised within the guard, which restores the net.
            _result_of(jobs[0], stack).raise_error()
    return stack
