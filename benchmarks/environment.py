"""When and on what a benchmark ran."""

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def versions(*packages):
    """Return the versions of Python and of packages; None where one is missing."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def environment():
    """Say when and on what a section runs."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        cpu = next((line.split(": ")[1] for line in lines if "model name" in line), cpu)
    has_gpu = torch.cuda.is_available()
    return {
        "date": datetime.date.today().isoformat(),
        "versions": versions(
            "numpy", "scikit-learn", "skorch", "torch", "lightning", "skrebatch"
        ),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if has_gpu else None,
    }


def where(environment, *more):
    """Write an environment, and what else there is to say, in a line of a page."""
    found = ", ".join(f"{k} {v}" for k, v in environment["versions"].items() if v)
    machine = f"{environment['cpu']}, {environment['cores']} cores"
    if environment["gpu"]:
        machine += f", {environment['gpu']}"
    return f"<sub>{environment['date']}, {'; '.join([machine, found, *more])}.</sub>"
