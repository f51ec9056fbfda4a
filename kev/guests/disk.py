"""The disk that a guest of the root file system has of its own."""

import io
from collections.abc import Mapping
from typing import BinaryIO, Final

from kev.addressing import KIB
from kev.dev.storage.drive import Drive, DriveKind
from kev.guests.catalogue import Guest
from kev.guests.images import open_root_file_system

_FREE: Final = 128 * KIB
"""What is left on a disk of JOS, for what the guest writes."""


def drives_of(guest: Guest | None) -> tuple[Drive, ...]:
    """A new disk in memory with the files that the guest asks for; none if it does not ask for a disk.

    It is a SIMPLEFS image, or, as a file of the JOS VMM's host, one of JOS' file system.
    """
    if guest is None or not guest.disk:
        return ()
    from kev.dev.storage.overlay_disk import OverlayDisk

    kind, name = DriveKind(guest.disk), f"disk of {guest.name}"
    with open_root_file_system() as files:
        contents = {file: io.BytesIO(files.open(file).read()) for file in guest.disk_files}
    image = _josfs_image(name, contents) if kind is DriveKind.IPC else _simplefs_image(name, contents)
    return (Drive(OverlayDisk(image.getbuffer(), name), kind),)


def _simplefs_image(name: str, contents: Mapping[str, BinaryIO]) -> io.BytesIO:
    from kev.fs.mkfs import create_image

    image = io.BytesIO()
    create_image(image, name, contents)
    return image


def _josfs_image(name: str, contents: Mapping[str, BinaryIO]) -> io.BytesIO:
    from kev.fs.josfs_mkfs import create_josfs_image

    image = io.BytesIO()
    create_josfs_image(image, name, contents)
    size = len(image.getbuffer()) + _FREE
    create_josfs_image(image, name, contents, size).flush()
    return image
