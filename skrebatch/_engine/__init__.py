"""The engine: many networks of one architecture, trained side by side."""
