"""What can be wrong with a disk and with the file system on it."""

from kev.errors import KevError


class DiskError(KevError):
    """A disk cannot be read or written where it was asked for: names the disk, the bytes and its size."""


class SimpleFsError(KevError):
    """A SIMPLEFS image is damaged, or is asked for something that it does not have. Damage is named by its sector."""
