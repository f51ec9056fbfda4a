"""Timers, clocks and counters."""
