"""How a snapshot is refused."""

from kev.errors import KevError


class SnapshotError(KevError):
    """A snapshot cannot be written, read or restored as asked. Names the file and why."""
