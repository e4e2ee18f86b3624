"""Optimizers and learning rates that can train a stack."""
