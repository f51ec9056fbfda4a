"""Strategies: which schedules a race test tries."""
