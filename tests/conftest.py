import torch


def pytest_configure():
    """Workers side by side, each with all the cores, would wait for one another."""
    torch.set_num_threads(1)
