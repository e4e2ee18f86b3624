"""Utilities used throughout the package."""
