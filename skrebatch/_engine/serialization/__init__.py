"""Storage of values and state in files that contain no code."""
