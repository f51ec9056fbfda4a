"""Files of the host as disks of a machine."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from kev.dev.storage.drive import Drive, DriveKind
from kev.fs.disk import Disk
from kev.fs.disk_formats import HEAD_LENGTH, disk_format
from kev.machine.errors import MachineError
from kev.spec.files import DiskFile
from kev.user_files import open_storage


@contextmanager
def open_drive(disk: DiskFile) -> Iterator[Drive]:
    """A disk, with its file open and locked. MachineError if it is no file for that, or if another machine uses it; OverlayError,
    SnapshotError if what keeps its writes does not belong to it.

    A file that is written has one user, which nobody else reads; others can have any number. The lock is advisory: see flock(2).
    """
    kind = DriveKind(disk.device)
    writes = disk.access == "write" and kind is not DriveKind.CDROM
    with _opened(disk.path, writes=writes) as file:
        _lock(file, disk.path, exclusive=writes)
        check_format(file, disk.path)
        backing = Disk(file, disk.path, any_size=kind is DriveKind.SVIRTB)
        if disk.overlay:
            from kev.dev.storage.overlay_file import OverlayFile

            with _opened_overlay(disk) as kept:
                yield Drive(OverlayFile(kept, disk.overlay, backing), kind)
        elif disk.access == "overlay":
            from kev.dev.storage.overlay_disk import OverlayDisk

            yield Drive(OverlayDisk(backing, disk.path), kind)
        else:
            yield Drive(backing, kind)


def check_format(file: BinaryIO, name: str) -> None:
    """MachineError if a disk is kept in this file otherwise than sector by sector: a guest's writes would destroy it."""
    kept_as = disk_format(os.pread(file.fileno(), HEAD_LENGTH, 0))
    if kept_as is not None:
        raise MachineError(f"disk {name}: {kept_as}")


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


def _opened_overlay(disk: DiskFile) -> BinaryIO:
    """The file that keeps what is written to the disk, made if it is not there."""
    from kev.dev.storage.overlay_file import BaseFile, begin_overlay, read_base
    from kev.machine.file_identity import check, identify
    from kev.snapshot.description import FileIdentity

    name = disk.overlay
    new = None if os.path.exists(name) else identify("disk", disk.path)
    try:
        file = open_storage(name, writes=True, creates=True)
    except (OSError, ValueError) as error:
        raise MachineError(
            f"{name}: cannot be opened, to keep what is written to {disk.path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if file is None or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise MachineError(f"{name}: is no regular file: what is written to {disk.path} cannot be kept in it")
    with ExitStack() as unless_used:
        unless_used.callback(file.close)
        _lock(file, name, exclusive=True, hint="it keeps what is written in one run at a time")
        base = read_base(file, name)
        if base is None:
            now = new or identify("disk", disk.path)
            begin_overlay(file, name, BaseFile(now.size, now.modified, now.digest))
        else:
            known = FileIdentity("disk", disk.path, False, base.size, base.modified, base.digest, base.digest is not None)
            check(known, disk.path, name)
        unless_used.pop_all()
    return file


def _lock(file: BinaryIO, name: str, *, exclusive: bool, hint: str = "") -> None:
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        hint = hint or ("with ,overlay it would only be read" if exclusive else "it is written there")
        raise MachineError(f"disk {name}: is in use by another machine, or for another disk of this one; {hint}") from None
    except OSError as error:
        raise MachineError(f"disk {name}: cannot be locked: {error.strerror}") from error
