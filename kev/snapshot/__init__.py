"""Snapshots of machines as files: their format, written and read. `docs/snapshots.md` specifies it."""
