"""Measures what kev promises about speed and memory: `python -m bench`."""
