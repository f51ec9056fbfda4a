"""A guest's image, modules and disks, read once for all runs of a search."""

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from kev.boot.base import Module
from kev.boot.detection import open_kernel
from kev.dev.storage.drive import Drive, DriveKind
from kev.dev.storage.overlay_disk import OverlayDisk
from kev.guests.catalogue import Guest
from kev.guests.disk import drives_of
from kev.guests.images import open_image, open_root_file_system
from kev.machine.disk_files import check_format
from kev.machine.errors import MachineError
from kev.pager.image import KernelImage
from kev.pager.source import AsynchronousSource, FileSource, SynchronousSource, blocking, read_bytes
from kev.race.guest.source import MemorySource
from kev.spec.files import DiskFile
from kev.spec.machine_spec import MachineSpec


class DiskContents(NamedTuple):
    """What is on a disk before a run."""

    name: str
    device: DriveKind
    writable: bool
    data: memoryview
    checksum: int
    """CRC-32."""


class GuestFiles(NamedTuple):
    """All that a guest is launched from."""

    guest: Guest | None
    image: MemorySource
    modules: tuple[Module, ...]
    disks: tuple[DiskContents, ...]
    checksum: int
    """CRC-32 of what is loaded of the image and where, and of the modules: not of debug information."""
    whole_checksum: int
    """CRC-32 of the whole image and of the modules, one after the other: what tokens had once."""

    def drives(self) -> tuple[Drive, ...]:
        """The disks of one run: what it writes goes with it."""
        drives = tuple(Drive(OverlayDisk(disk.data, disk.name, writable=disk.writable), disk.device) for disk in self.disks)
        return drives or drives_of(self.guest)


def guest_called(image: str) -> Guest | None:
    """A guest of the root file system; None for another image. ImageNotFound."""
    with open_image(image) as (_, guest):
        return guest


def read_files(spec: MachineSpec) -> GuestFiles:
    """The image, the modules and the disks, as they were when they were read. ImageNotFound, SourceError, MachineError."""
    files = _known.get(spec)
    if files is None:
        files = _known[spec] = _read(spec)
    return files


def read_again(spec: MachineSpec) -> bool:
    """Reads them once more, for a search that begins: True if they are not what they were. Raises what `read_files` does."""
    known = _known.pop(spec, None)
    if known is None or _contents(read_files(spec)) != _contents(known):
        return known is not None
    _known[spec] = known
    return False


_known: Final[dict[MachineSpec, GuestFiles]] = {}


def _contents(files: GuestFiles) -> tuple[int, ...]:
    return files.checksum, files.whole_checksum, *(disk.checksum for disk in files.disks)


def _read(spec: MachineSpec) -> GuestFiles:
    with open_image(spec.image) as (source, guest):
        image = _in_memory(source)
    modules = tuple(_read_modules(spec, guest))
    checksum, whole = _loaded_checksum(image, spec.boot), crc32(image.data)
    for _, contents, _ in modules:
        checksum, whole = crc32(contents.data, checksum), crc32(contents.data, whole)
    disks = tuple(map(_read_disk, spec.disks))
    return GuestFiles(guest, image, tuple(Module(*module) for module in modules), disks, checksum, whole)


def read_kernel(spec: MachineSpec) -> KernelImage:
    """The image, with its symbols. ImageNotFound, ImageError."""
    return open_kernel(read_files(spec).image, spec.boot).image


def _loaded_checksum(image: MemorySource, protocol: str | None) -> int:
    """Of the entry, and of the addresses and the bytes of every segment. ImageError."""
    kernel = open_kernel(image, protocol).image
    checksum = crc32(struct.pack("<Q", kernel.entry))
    for segment in kernel.segments:
        checksum = crc32(struct.pack("<QQQ", segment.paddr, segment.vaddr, segment.memsz), checksum)
        checksum = crc32(image.data[segment.offset : segment.offset + segment.filesz], checksum)
    return checksum


def kept_image(source: SynchronousSource | AsynchronousSource, folder: Path) -> str:
    """A file with the bytes of a source, which a token can name. MachineError, SourceError."""
    image = _in_memory(blocking(source))
    file = folder / f"{crc32(image.data):08x}.image"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image.data)
    except OSError as error:
        raise MachineError(f"{source.name}: cannot be kept in {file}: {error.strerror}") from error
    return str(file)


def _read_modules(spec: MachineSpec, guest: Guest | None) -> Iterator[tuple[str, MemorySource, str]]:
    for name, text in spec.modules:
        with FileSource(name) as file:
            yield name, _in_memory(file), text
    if guest is not None and guest.modules and not spec.modules:
        with open_root_file_system() as files:
            for name in guest.modules:
                yield name, _in_memory(files.open(name)), ""


def _in_memory(source: SynchronousSource) -> MemorySource:
    return MemorySource(source.name, read_bytes(source, 0, source.size))


def _read_disk(disk: DiskFile) -> DiskContents:
    """A disk may be large: its contents stay in the file, mapped."""
    name = disk.path
    if disk.overlay:
        raise MachineError(f"disk {name}: overlay={disk.overlay}: what a race test writes is not kept: add ,overlay alone")
    try:
        with open(name, "rb") as file:
            check_format(file, name)
            size = os.fstat(file.fileno()).st_size
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if size else memoryview(b"")
    except (OSError, ValueError) as error:
        raise MachineError(f"disk {name}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return DiskContents(name, DriveKind(disk.device), disk.access != "ro", data, crc32(data))
