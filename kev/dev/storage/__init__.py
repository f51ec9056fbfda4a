"""Disks, and the controllers they are behind."""
