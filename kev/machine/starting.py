"""What a machine is started from: an image, the first of its disks, or a firmware with a disk."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple, TypeAlias

from kev.dev.block_device import BlockBackend
from kev.dev.storage.drive import Drive, DriveKind
from kev.fs.disk import Disk
from kev.guests.catalogue import Guest
from kev.guests.images import open_image_or_url
from kev.machine.errors import MachineError
from kev.pager.source import AsynchronousSource, FileSource, SynchronousSource
from kev.spec.errors import SpecError
from kev.spec.files import DiskFile
from kev.spec.machine_spec import MachineSpec

_Source: TypeAlias = SynchronousSource | AsynchronousSource
_FIRMWARE: Final = "firmware"
"""The boot protocol of a ROM."""


class Start(NamedTuple):
    """What is loaded, and which disks there are."""

    source: _Source
    guest: Guest | None
    """The guest that it is, if it comes from the root file system."""
    protocol: str | None
    """The boot protocol, if the image is no kernel; for a kernel, the description has it, or the image says which."""
    disks: Sequence[DiskFile]
    """Those that are still to be opened."""
    boot_disk: BlockBackend | None = None
    """The first one of the IDE channel."""
    boots_from_drives: bool = False
    """The source is that disk, or else the first of `disks`."""


@contextmanager
def start_of(spec: MachineSpec, source: _Source | None) -> Iterator[Start]:
    """`source` has the image's bytes, if they are not those of what `spec` names. KevError."""
    with ExitStack() as files:
        if spec.firmware is not None:
            yield _start_firmware(files, spec, source)
        elif spec.image or source is not None:
            opened, guest = files.enter_context(open_image_or_url(spec.image)) if source is None else (source, None)
            yield Start(opened, guest, None, spec.disks)
        else:
            yield _start_disk(files, spec)


def _start_firmware(files: ExitStack, spec: MachineSpec, source: _Source | None) -> Start:
    """The image is a disk, if there is one."""
    assert spec.firmware is not None
    if spec.boot not in (None, _FIRMWARE):
        raise SpecError(f"boot: {spec.boot!r}: with a firmware, what else is booted is the firmware's choice")
    rom = files.enter_context(FileSource(spec.firmware))
    image = source
    if image is None and spec.image:
        image, _ = files.enter_context(open_image_or_url(spec.image))
    return Start(rom, None, _FIRMWARE, spec.disks, None if image is None else _kept_disk(image), boots_from_drives=True)


def _kept_disk(image: _Source) -> BlockBackend:
    from kev.dev.storage.source_disk import SourceDisk

    return SourceDisk(image.blocking if isinstance(image, AsynchronousSource) else image)


def _start_disk(files: ExitStack, spec: MachineSpec) -> Start:
    """A disk that is booted from is the IDE channel's first, unless it is behind virtio."""
    from kev.boot.detection import disk_protocol

    first, *others = spec.disks
    source = files.enter_context(FileSource(first.path))
    protocol = spec.boot or disk_protocol(source)
    if DriveKind(first.device) not in (DriveKind.SVIRTB, DriveKind.IDE):
        return Start(source, None, protocol, spec.disks, boots_from_drives=True)
    disk = files.enter_context(open_drive(DiskFile(first.path, DriveKind.IDE.value)))
    return Start(source, None, protocol, others, disk.backend, boots_from_drives=True)


@contextmanager
def open_drive(disk: DiskFile) -> Iterator[Drive]:
    """MachineError if the file cannot be opened for reading and writing."""
    name = disk.path
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open(name, "r+b"))
        except OSError as error:
            raise MachineError(f"disk {name}: cannot be opened for reading and writing: {error.strerror}") from error
        kind = DriveKind(disk.device)
        yield Drive(Disk(opened, name, any_size=kind is DriveKind.SVIRTB), kind)
