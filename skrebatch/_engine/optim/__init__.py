"""Optimizers and learning-rate schedules for stacks of networks."""
