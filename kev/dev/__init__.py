"""Devices: one per file."""
