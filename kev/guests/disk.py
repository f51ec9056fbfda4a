"""The disk that a guest of the root file system has of its own."""

import io

from kev.dev.storage.drive import Drive, DriveKind
from kev.guests.catalogue import Guest
from kev.guests.images import open_root_file_system


def drives_of(guest: Guest | None) -> tuple[Drive, ...]:
    """A new disk in memory, a SIMPLEFS image with the files that the guest asks for; none if it does not ask for a disk."""
    if guest is None or not guest.disk:
        return ()
    from kev.dev.storage.overlay_disk import OverlayDisk
    from kev.fs.mkfs import create_image

    image, name = io.BytesIO(), f"disk of {guest.name}"
    with open_root_file_system() as files:
        create_image(image, name, {file: io.BytesIO(files.open(file).read()) for file in guest.disk_files})
    return (Drive(OverlayDisk(image.getbuffer(), name), DriveKind(guest.disk)),)
