"""What can be wrong with a disk and with the file system on it."""

from kev.errors import KevError


class DiskError(KevError):
    """A disk cannot be read or written where it was asked for: names the disk, the bytes and its size."""


class SimpleFsError(KevError):
    """A SIMPLEFS image is damaged, or is asked for something that it does not have. Damage is named by its sector."""


class JosFsError(KevError):
    """A JOS-FS image is damaged, or is asked for something that it does not have. Damage is named by its block."""


class JosFsNotFound(JosFsError):
    """There is no file of that path."""


class JosFsExists(JosFsError):
    """There is a file of that path already."""


class JosFsBadPath(JosFsError):
    """No file can have that path."""


class JosFsFull(JosFsError):
    """There is no free block, or the file would be larger than one can be."""
