"""Finds out which boot protocol an image is made for, and says why."""

import struct
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from kev.addressing import KIB, MIB, PAGE_SIZE
from kev.boot.base import BootError, BootProtocol
from kev.boot.kernel_file import KernelFile
from kev.boot.protocols import PROTOCOLS
from kev.named_tuple import NamedTuple
from kev.pager.errors import ImageError
from kev.pager.ram import MMIO_HOLE
from kev.pager.source import SynchronousSource
from kev.state import SNAPSHOT_MAGIC

_FOR_DISKS: Final = ("el_torito", "real_mode")
_NO_PROTOCOL: Final = (
    "neither an ELF file, nor a file with a Multiboot header, nor a Linux kernel, nor a boot sector: cannot be booted"
)

_DEVICES: Final[Mapping[str, range]] = {
    "the memory of the VGA is": range(0xA0000, 0xC0000),
    "devices are": MMIO_HOLE,
}
"""Guest-physical addresses at which nothing can be loaded."""

_COMPRESSED: Final = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\x04\x22\x4d\x18": ("lz4", "unlz4"),
    b"\x02\x21\x4c\x18": ("lz4", "unlz4"),
}
"""By its first bytes: what it was compressed with, and what undoes that."""
_ARCHIVES: Final = {0: (b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"!<arch>\n"), 257: (b"ustar",)}
"""Where, and with what, zip, 7z, ar and tar say that they are."""
_ISO_9660_OFFSET: Final = 0x8001
_ISO_9660_MAGIC: Final = b"CD001"
_EXTRACT: Final = "extract the kernel from it, and boot that"
_MZ_MAGIC: Final = b"MZ"
_PE_OFFSET: Final = struct.Struct("<60xI")
_PE_MAGIC: Final = b"PE\0\0"
_PE: Final = (
    "a PE file, such as an EFI application: a UEFI runs it, which --firmware starts, from a disk; or boot the kernel that it loads"
)
_FIRMWARE: Final = "it ends like a firmware's ROM, which is not booted, but is what boots: --firmware starts it"
_ROM_SIZES: Final = (64 * KIB, 8 * MIB)
_RESET_CODE: Final = (b"\xea", b"\xe9", b"\xfa\xfc", b"\x0f\x20\xc0", b"\x90\x90")
"""What SeaBIOS, U-Boot and OVMF have at the reset vector: JMP; CLI, CLD; MOV EAX, CR0; NOP."""
_KNOWN_BY_ADDRESS: Final = "keos"
"""Of such a kernel nothing has to be read but headers."""


class Detection(NamedTuple):
    """Which protocol an image is booted by, and why."""

    protocol: type[BootProtocol]
    reason: str
    """What was seen that decided, or that somebody has chosen."""
    warnings: tuple[str, ...] = ()
    """What looks wrong, a line each, without the name of the image."""


def open_kernel(source: SynchronousSource, protocol: str | None = None) -> BootProtocol:
    """The image in `source` as the protocol of this name understands it, or else the one that it is made for.

    BootError if nothing fits; ImageError if the image is damaged.
    """
    file = KernelFile(source)
    return load(find_protocol(file, protocol).protocol, file)


def load(protocol: type[BootProtocol], file: KernelFile) -> BootProtocol:
    """The image as `protocol` understands it. BootError if a segment of it lies where devices are, too, or if it is a PE file that
    `protocol` would load as an ELF file.
    """
    try:
        kernel = protocol.open(file)
    except ImageError as error:
        if _is_pe(file):
            raise BootError(f"{file.name}: {_PE}") from error
        raise
    for segment in kernel.image.segments if kernel.lies_in_ram else ():
        for what, place in _DEVICES.items():
            if segment.paddr < place.stop and place.start < segment.end:
                raise BootError(
                    f"{file.name}: the segment at {segment.paddr:#x}-{segment.end:#x} reaches into "
                    f"{place.start:#x}-{place.stop:#x}, where {what}{f'; {_FIRMWARE}' if _is_firmware(file) else ''}"
                )
    return kernel


def open_detected(source: SynchronousSource, protocol: str | None = None) -> tuple[BootProtocol, Detection]:
    """The same, and why; its warnings are complete."""
    file = KernelFile(source)
    detection = find_protocol(file, protocol)
    kernel = load(detection.protocol, file)
    return kernel, with_entry_checked(file, kernel, detection)


def find_protocol(file: KernelFile, protocol: str | None = None) -> Detection:
    """The protocol of this name, or the one that an image is made for. BootError if there is none."""
    return detect(file) if protocol is None else Detection(protocol_named(protocol), "it was chosen")


def detect(file: KernelFile) -> Detection:
    """The protocol that an image is made for: the first of `PROTOCOLS` for which something speaks. BootError if there is none.

    An ELF image for which nothing speaks, and nothing against it, is entered as KeOS is.
    """
    for name, reason in findings(file):
        return Detection(protocol_named(name), reason)
    if file.is_elf:
        from kev.boot.unmarked_elf import detect_unmarked

        protocol, reason, warning = detect_unmarked(file)
        return Detection(protocol_named(protocol), reason, (warning,))
    raise BootError(f"{file.name}: {_describe(file)}")


def disk_protocol(source: SynchronousSource) -> str:
    """The protocol that a disk is booted by, whatever else may be on it. BootError if a BIOS could not boot it."""
    file = KernelFile(source)
    for name in _FOR_DISKS:
        if protocol_named(name).detect(file) is not None:
            return name
    from kev.fs.disk_formats import disk_format

    problem = "it has no boot sector and no El Torito boot record" if disk_format(file.head) is None else _describe(file)
    raise BootError(f"disk {file.name}: cannot be booted: {problem}")


def findings(file: KernelFile) -> Iterator[tuple[str, str]]:
    """What speaks for a protocol: its name, and what was seen, in the order in which the protocols are tried."""
    for name in PROTOCOLS:
        seen = protocol_named(name).detect(file)
        if seen is not None:
            yield name, seen


def with_entry_checked(file: KernelFile, kernel: BootProtocol, detection: Detection) -> Detection:
    """`detection` with a warning more if the code at an ELF file's entry is not for the mode that it is entered in."""
    if not file.is_elf or (kernel.name == _KNOWN_BY_ADDRESS and kernel.detect(file)):
        return detection
    from kev.boot.entry_code import entry_bits

    bits = entry_bits(file, kernel.image)
    if bits is None or bits == kernel.mode:
        return detection
    warning = (
        f"the {kernel.name} boot protocol enters it in {kernel.mode}-bit mode, "
        f"but the code at its entry {kernel.image.entry:#x} is {bits}-bit code"
    )
    return detection._replace(warnings=(*detection.warnings, warning))


def _is_iso(file: KernelFile) -> bool:
    return file.bytes_at(_ISO_9660_OFFSET, len(_ISO_9660_MAGIC)) == _ISO_9660_MAGIC


def _describe(file: KernelFile) -> str:
    """What a file is that cannot be booted, and what to do with it."""
    if file.head.startswith(SNAPSHOT_MAGIC):
        return "a snapshot, not an image: `kev run` and `kev.start` go on from it"
    for magic, (program, remedy) in _COMPRESSED.items():
        if file.head.startswith(magic):
            return f"compressed by {program}: {remedy} it first"
    from kev.fs.disk_formats import disk_format

    disk = disk_format(file.head)
    if disk is not None:
        return str(disk)
    if any(file.bytes_at(offset, len(magic)) == magic for offset, magics in _ARCHIVES.items() for magic in magics):
        return f"an archive: {_EXTRACT}"
    if not file.source.size:
        return "it is empty"
    if _is_iso(file):
        return f"an ISO 9660 image: {_EXTRACT}"
    if _is_pe(file):
        return _PE
    if _is_firmware(file):
        return _FIRMWARE
    return _NO_PROTOCOL


def _is_pe(file: KernelFile) -> bool:
    if not file.head.startswith(_MZ_MAGIC) or len(file.head) < _PE_OFFSET.size:
        return False
    (offset,) = _PE_OFFSET.unpack_from(file.head)
    return file.bytes_at(offset, len(_PE_MAGIC)) == _PE_MAGIC


def _is_firmware(file: KernelFile) -> bool:
    """It has the size of a ROM, and code where a processor begins."""
    size = file.source.size
    return not size % PAGE_SIZE and _ROM_SIZES[0] <= size <= _ROM_SIZES[1] and file.bytes_at(size - 16, 3).startswith(_RESET_CODE)


def protocol_named(name: str) -> type[BootProtocol]:
    """BootError if there is no protocol of that name."""
    if name not in PROTOCOLS:
        raise BootError(f"no boot protocol is named {name!r}: there are {', '.join(PROTOCOLS)}")
    # A run needs one of them, and most runs the first.
    protocol: type[BootProtocol] = getattr(import_module(f"kev.boot.{name}"), PROTOCOLS[name])
    return protocol
