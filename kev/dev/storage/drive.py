"""A disk, and the device that it is put behind."""

from enum import Enum

from kev.dev.block_device import BlockBackend
from kev.named_tuple import NamedTuple


class DriveKind(Enum):
    """The device a disk is behind."""

    SVIRTB = "svirtb"
    """KeV's, at 0xcafe0000."""
    VIRTIO = "virtio"
    """virtio-blk over MMIO, from 0xd0000000 on, the first one with interrupt 10. There can be several."""
    VIRTIO_PCI = "virtio-pci"
    """virtio-blk behind PCI, from device 00:04.0 on: where KeOS looks for its disks. There can be several."""
    IDE = "ide"
    """The primary channel: one disk is its second, where xv6 and JOS look for their file system; two are both, in order."""
    IDE_MASTER = "ide-master"
    """The primary channel's first disk, where other kernels look first."""
    IDE_SECONDARY = "ide-secondary"
    """The secondary channel, which one or two disks share with CD-ROMs."""
    CDROM = "cdrom"
    """A CD-ROM drive at the secondary channel, which comes before the disks there."""
    IPC = "ipc"
    """No device: a file of the host, which its file system serves to guests of the JOS VMM."""


class Drive(NamedTuple):
    """A disk of the machine."""

    backend: BlockBackend
    kind: DriveKind = DriveKind.SVIRTB
