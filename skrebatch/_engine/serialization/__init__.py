"""Values and state in files without code."""
