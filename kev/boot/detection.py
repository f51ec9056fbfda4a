"""Finds out which boot protocol an image is made for."""

import struct
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from kev.boot.base import BootError, BootProtocol
from kev.boot.kernel_file import KernelFile
from kev.boot.protocols import PROTOCOLS
from kev.errors import KevError
from kev.pager.ram import MMIO_HOLE
from kev.pager.source import SynchronousSource

_FOR_ANY_ELF: Final = "keos"
_FOREIGN_ELF: Final = (
    "it has no Multiboot header and no PVH note: is it made for another loader, such as Limine or the bootloader crate?"
)

_DEVICES: Final[Mapping[str, range]] = {
    "the memory of the VGA is": range(0xA0000, 0xC0000),
    "devices are": MMIO_HOLE,
}
"""Guest-physical addresses at which nothing can be loaded."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ISO_9660_OFFSET: Final = 0x8001
_ISO_9660_MAGIC: Final = b"CD001"
_MZ_MAGIC: Final = b"MZ"
_PE_OFFSET: Final = struct.Struct("<60xI")
_PE_MAGIC: Final = b"PE\0\0"


def open_kernel(source: SynchronousSource, protocol: str | None = None) -> BootProtocol:
    """The image in `source` as the protocol of this name understands it, or else the first one that it is made for.

    An ELF image that no protocol claims is entered as KeOS is. BootError if nothing fits; ImageError if the image is damaged.
    """
    file = KernelFile(source)
    return load((protocol_named(protocol) if protocol is not None else detect(file)), file)


def load(protocol: type[BootProtocol], file: KernelFile) -> BootProtocol:
    """The image as `protocol` understands it. BootError if a segment of it lies where devices are, too."""
    kernel = protocol.open(file)
    for segment in kernel.image.segments:
        for what, place in _DEVICES.items():
            if segment.paddr < place.stop and place.start < segment.end:
                raise BootError(
                    f"{file.name}: the segment at {segment.paddr:#x}-{segment.end:#x} reaches into "
                    f"{place.start:#x}-{place.stop:#x}, where {what}"
                )
    return kernel


def detect(file: KernelFile) -> type[BootProtocol]:
    """The protocol that an image is made for. BootError if it is made for none."""
    for protocol in _protocols():
        if protocol.detect(file):
            return protocol
    if file.is_elf:
        return _for_any_elf(file)
    raise BootError(f"{file.name}: {_describe(file)}")


def _for_any_elf(file: KernelFile) -> type[BootProtocol]:
    protocol = protocol_named(_FOR_ANY_ELF)
    if file.is_elf64:
        try:
            protocol.open(file)
        except KevError as error:
            raise BootError(f"{error}; {_FOREIGN_ELF}") from error
    return protocol


def _describe(file: KernelFile) -> str:
    """What a file is that cannot be booted, and what to do with it."""
    if file.head.startswith(_GZIP_MAGIC):
        return "compressed by gzip: gunzip it first"
    if file.bytes_at(_ISO_9660_OFFSET, len(_ISO_9660_MAGIC)) == _ISO_9660_MAGIC:
        return "an ISO 9660 image: extract the kernel from it, and boot that"
    if file.head.startswith(_MZ_MAGIC) and len(file.head) >= _PE_OFFSET.size:
        (offset,) = _PE_OFFSET.unpack_from(file.head)
        if file.bytes_at(offset, len(_PE_MAGIC)) == _PE_MAGIC:
            return "a PE file, such as an EFI application: there is no UEFI to run it; boot the kernel that it loads"
    return "neither an ELF file, nor a file with a Multiboot header, nor a boot sector: cannot be booted"


def protocol_named(name: str) -> type[BootProtocol]:
    """BootError if there is no protocol of that name."""
    if name not in PROTOCOLS:
        raise BootError(f"no boot protocol is named {name!r}: there are {', '.join(PROTOCOLS)}")
    # A run needs one of them, and most runs the first.
    protocol: type[BootProtocol] = getattr(import_module(f"kev.boot.{name}"), PROTOCOLS[name])
    return protocol


def _protocols() -> Iterator[type[BootProtocol]]:
    return map(protocol_named, PROTOCOLS)
