"""Measuring how soon guests boot: cases, rounds, summaries and what they are compared with."""
