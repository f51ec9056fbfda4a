"""Files of the host as disks of a machine."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from kev.dev.storage.drive import Drive, DriveKind
from kev.fs.disk import Disk
from kev.machine.errors import MachineError
from kev.spec.files import DiskFile
from kev.user_files import open_storage


@contextmanager
def open_drive(disk: DiskFile) -> Iterator[Drive]:
    """A disk, with its file open and locked. MachineError if it is no file for that, or if another machine uses it.

    A file that is written has one user, which nobody else reads; others can have any number. The lock is advisory: see flock(2).
    """
    kind = DriveKind(disk.device)
    writes = disk.access == "write" and kind is not DriveKind.CDROM
    with _opened(disk.path, writes=writes) as file:
        _lock(file, disk.path, exclusive=writes)
        backing = Disk(file, disk.path, any_size=kind is DriveKind.SVIRTB)
        if disk.access == "overlay":
            from kev.dev.storage.overlay_disk import OverlayDisk

            yield Drive(OverlayDisk(backing, disk.path), kind)
        else:
            yield Drive(backing, kind)


def _opened(name: str, *, writes: bool) -> BinaryIO:
    try:
        file = open_storage(name, writes=writes)
    except OSError as error:
        wanted = "reading and writing" if writes else "reading"
        hint = "; with ,ro or ,overlay it is only read" if writes and os.access(name, os.R_OK) and not os.path.isdir(name) else ""
        raise MachineError(f"disk {name}: cannot be opened for {wanted}: {error.strerror}{hint}") from error
    if file is None:
        raise MachineError(f"disk {name}: is neither a regular file nor a block device")
    return file


def _lock(file: BinaryIO, name: str, *, exclusive: bool) -> None:
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        hint = "with ,overlay it would only be read" if exclusive else "it is written there"
        raise MachineError(f"disk {name}: is in use by another machine, or for another disk of this one; {hint}") from None
    except OSError as error:
        raise MachineError(f"disk {name}: cannot be locked: {error.strerror}") from error
