"""Jobs over processes, going on where a run that was killed stopped."""

import json

from joblib import Parallel, delayed
from tqdm import tqdm


def run_jobs(function, jobs, setting, path, n_jobs):
    """Run jobs with a progress bar, or those left of a run that was killed.

    Parameters
    ----------
    function : callable
        Takes a job, and returns something that can be dumped as JSON.
    jobs : list of tuple
        Of what can be dumped as JSON, each another.
    setting : dict
        What all results depend on: results of another setting are not gone on from.
    path : Path
        Of a file for finished parts, a line each; whoever calls removes it.
    n_jobs : int
        Number of processes.

    Returns
    -------
    list
        What `function` returned, in the order of the jobs.

    Raises
    ------
    SystemExit
        If the file holds parts of another setting.
    """
    setting = json.loads(json.dumps(setting))
    done = _read(path, setting)
    # Written anew, because the last line of a killed run may be torn.
    new = path.with_suffix(".new")
    lines = [{"job": key, "result": result} for key, result in done.items()]
    new.write_text("".join(map(as_line, [setting, *lines])), encoding="utf-8")
    new.replace(path)
    left = [job for job in jobs if _key(job) not in done]
    workers = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    results = workers(
        delayed(_numbered)(function, i, job) for i, job in enumerate(left)
    )
    with tqdm(total=len(jobs), initial=len(jobs) - len(left), unit="job") as bar:
        for i, result in results:
            done[_key(left[i])] = result
            with path.open("a", encoding="utf-8") as file:
                file.write(as_line({"job": _key(left[i]), "result": result}))
            bar.update()
    return [done[_key(job)] for job in jobs]


def as_line(value):
    """Write JSON in a line."""
    return json.dumps(value, separators=(",", ":")) + "\n"


def _numbered(function, i, job):
    """Run a job, and say which it is."""
    return i, function(job)


def _key(job):
    return json.dumps(job, default=list)


def _read(path, setting):
    """Read the results that a run has left, by job."""
    if not path.exists():
        return {}
    lines = []
    for line in path.read_text("utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    if lines and lines[0] != setting:
        raise SystemExit(
            f"{path} holds parts of a run with other settings or versions; remove it "
            "to begin anew."
        )
    return {line["job"]: line["result"] for line in lines[1:]}
