"""Formats in which disks are kept otherwise than sector by sector."""

from typing import Final, NamedTuple

HEAD_LENGTH: Final = 68
"""So many bytes at the beginning of a file tell its format."""
_MAGICS: Final = {
    b"QFI\xfb": ("QEMU's", "qcow2"),
    b"KDMV": ("VMware's", "vmdk"),
    b"# Disk DescriptorFile": ("VMware's", "vmdk"),
    b"vhdxfile": ("Hyper-V's", "vhdx"),
    b"conectix": ("Virtual PC's", "vpc"),
}
"""By its first bytes: whose format it is, and what qemu-img calls it."""
_VDI_OFFSET: Final = 64
_VDI_MAGIC: Final = b"\x7f\x10\xda\xbe"


class DiskFormat(NamedTuple):
    """One of them."""

    owner: str
    """Whose it is, as in `QEMU's`."""
    name: str
    """What qemu-img calls it."""

    def __str__(self) -> str:
        return f"a disk image in {self.owner} format: `qemu-img convert -f {self.name} -O raw` makes one of it that is read here"


def disk_format(head: bytes) -> DiskFormat | None:
    """The format of a file that begins with `head`, of `HEAD_LENGTH` bytes or more; None if it may be a disk's sectors."""
    if head[_VDI_OFFSET:].startswith(_VDI_MAGIC):
        return DiskFormat("VirtualBox'", "vdi")
    return next((DiskFormat(*kind) for magic, kind in _MAGICS.items() if head.startswith(magic)), None)
