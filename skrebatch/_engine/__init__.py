"""The engine: training of many networks of one architecture at the same time."""
