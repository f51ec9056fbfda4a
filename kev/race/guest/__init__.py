"""Whole guests: real code, whose vCPUs are interleaved at exact instructions."""
