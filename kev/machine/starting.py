"""What a machine is started from: an image, the first of its disks, or a firmware with a disk."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Final, TypeAlias

from kev.dev.block_device import BlockBackend
from kev.dev.storage.drive import DriveKind
from kev.guests.catalogue import Guest
from kev.guests.images import open_image_or_url
from kev.named_tuple import NamedTuple
from kev.pager.source import AsynchronousSource, FileSource, SynchronousSource, blocking
from kev.spec.errors import SpecError
from kev.spec.files import DiskFile
from kev.spec.machine_spec import MachineSpec

_Source: TypeAlias = SynchronousSource | AsynchronousSource
_VIRTIO: Final = (DriveKind.VIRTIO, DriveKind.VIRTIO_PCI)
BOOTED_IN_PLACE: Final = (*_VIRTIO, DriveKind.CDROM)
"""Disks that are booted from behind what they say."""
_FIRMWARE: Final = "firmware"
"""The boot protocol of a ROM."""
_CD: Final = "el_torito"
"""That of a CD, also of one that could be a hard disk."""


class Start(NamedTuple):
    """What is loaded, and which disks there are."""

    source: _Source
    guest: Guest | None
    """The guest that it is, if it comes from the root file system."""
    disks: Sequence[DiskFile]
    """Those behind what they say."""
    protocol: str | None = None
    """The boot protocol, if the image is no kernel; for a kernel, the description has it, or the image says which."""
    open_boot_disk: "Callable[[], AbstractContextManager[BlockBackend]] | None" = None
    """Opens the first disk of the IDE channel."""
    boots_from_drives: bool = False
    """The source is that disk, or else the first of `disks`."""

    @property
    def may_be_snapshot(self) -> bool:
        """It is neither a guest's name, nor a disk or a firmware."""
        return self.guest is None and self.protocol is None


@contextmanager
def start_of(spec: MachineSpec, source: _Source | None) -> Iterator[Start]:
    """`source` has the image's bytes, if they are not those of what `spec` names. KevError."""
    with ExitStack() as files:
        if spec.firmware is not None:
            yield _start_firmware(files, spec, source)
        elif spec.image or source is not None:
            opened, guest = files.enter_context(open_image_or_url(spec.image, spec.retry)) if source is None else (source, None)
            yield Start(opened, guest, spec.disks)
        else:
            yield _start_disk(files, spec)


def boot_disk(spec: MachineSpec) -> DiskFile | None:
    """The disk that is booted from where no image is named: with a firmware, the first that does not say what it is behind.

    It is the IDE channel's first, unless it is one of `BOOTED_IN_PLACE`.
    """
    kinds = [DriveKind(disk.device) for disk in spec.disks]
    is_one = [kind is DriveKind.SVIRTB if spec.firmware is not None else kind is not DriveKind.IPC for kind in kinds]
    return next((disk for disk, right in zip(spec.disks, is_one, strict=True) if right), None)


def _start_firmware(files: ExitStack, spec: MachineSpec, source: _Source | None) -> Start:
    """The image is a disk, if there is one; else the first disk that does not say what it is behind: no firmware finds such."""
    assert spec.firmware is not None
    if spec.boot not in (None, _FIRMWARE):
        raise SpecError(f"boot: {spec.boot!r}: with a firmware, what else is booted is the firmware's choice")
    rom = files.enter_context(FileSource(spec.firmware))
    image = source
    if image is None and spec.image:
        image, _ = files.enter_context(open_image_or_url(spec.image, spec.retry))
    if image is not None:
        return Start(rom, None, spec.disks, _FIRMWARE, partial(_kept_disk, blocking(image)), boots_from_drives=True)
    first = boot_disk(spec)
    others = [disk for disk in spec.disks if disk is not first]
    return Start(rom, None, others, _FIRMWARE, first and partial(_disk, first), boots_from_drives=True)


@contextmanager
def _kept_disk(image: SynchronousSource) -> Iterator[BlockBackend]:
    from kev.dev.storage.source_disk import SourceDisk

    yield SourceDisk(image)


def _start_disk(files: ExitStack, spec: MachineSpec) -> Start:
    """A disk that is booted from is the IDE channel's first, unless it is a CD or behind virtio."""
    from kev.boot.detection import disk_protocol

    first = boot_disk(spec)
    if first is None:
        raise SpecError(f"disk {spec.disks[0].path}: no image is named, and a disk behind {DriveKind.IPC.value} is not booted from")
    others = [disk for disk in spec.disks if disk is not first]
    source = files.enter_context(FileSource(first.path, watched=False))
    kind = DriveKind(first.device)
    protocol = spec.boot or (_CD if kind is DriveKind.CDROM else disk_protocol(source))
    if kind in _VIRTIO:
        return Start(source, None, spec.disks, protocol, boots_from_drives=True)
    return Start(source, None, others, protocol, partial(_disk, first), boots_from_drives=True)


@contextmanager
def _disk(disk: DiskFile) -> Iterator[BlockBackend]:
    device = disk.device if disk.device == DriveKind.CDROM.value else DriveKind.IDE.value
    from kev.machine.disk_files import open_drive

    with open_drive(disk._replace(device=device)) as drive:
        yield drive.backend
