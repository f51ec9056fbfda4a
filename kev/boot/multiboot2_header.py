"""The Multiboot2 header: what a kernel says of itself, and what it wants (Multiboot2 Specification 2.0, section 3.1)."""

import struct
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Final

from kev.addressing import KIB
from kev.boot.base import BootError
from kev.boot.kernel_file import KernelFile
from kev.boot.load_addresses import LoadAddresses
from kev.dev.display.framebuffer import VideoMode
from kev.named_tuple import NamedTuple

HEADER_MAGIC: Final = 0xE852_50D6
SEARCHED: Final = 32 * KIB

_ALIGNMENT: Final = 8
_HEADER: Final = struct.Struct("<IIII")
_WORDS: Final = 4
_ARCHITECTURE_I386: Final = 0
_TAG: Final = struct.Struct("<HHI")
_OPTIONAL: Final = 1 << 0
_ADDRESSES: Final = struct.Struct("<IIII")
_WORD: Final = struct.Struct("<I")
_FRAMEBUFFER: Final = struct.Struct("<III")
_RELOCATABLE: Final = struct.Struct("<IIII")
_FROM_BEGINNING: Final = 0xFFFF_FFFF
_CONSOLE_REQUIRED: Final = 1 << 0
_TEXT_MODE_SUPPORTED: Final = 1 << 1
_INFORMATION: Final = range(1, 22)
"""The types that there are. As with other boot loaders, what a machine does not have, such as EFI, can be required all the same."""


class HeaderTagType(IntEnum):
    """What a kernel can ask for."""

    END = 0
    INFORMATION_REQUEST = 1
    ADDRESS = 2
    ENTRY_ADDRESS = 3
    CONSOLE_FLAGS = 4
    FRAMEBUFFER = 5
    MODULE_ALIGNMENT = 6
    EFI_BOOT_SERVICES = 7
    EFI_I386_ENTRY_ADDRESS = 8
    EFI_AMD64_ENTRY_ADDRESS = 9
    RELOCATABLE = 10


class Relocation(NamedTuple):
    """Where a kernel that can be moved may lie: guest-physical addresses, the last one included."""

    lowest: int
    highest: int
    alignment: int


class Multiboot2Header(NamedTuple):
    """What is asked for and can be given."""

    offset: int
    """In the file."""
    addresses: LoadAddresses | None = None
    """What is loaded, instead of what ELF's headers say."""
    entry: int | None = None
    """Where execution starts, instead of where ELF's header says."""
    relocation: Relocation | None = None
    video_mode: VideoMode | None = None
    """It wants to draw, instead of writing text."""
    needs_graphics: bool = False
    """It cannot do without."""


class _Tag(NamedTuple):
    type: int
    flags: int
    data: bytes
    """What follows its size."""

    @property
    def required(self) -> bool:
        return not self.flags & _OPTIONAL

    @property
    def name(self) -> str:
        try:
            return HeaderTagType(self.type).name.lower().replace("_", " ")
        except ValueError:
            return "unknown"


def find_header(file: KernelFile) -> int | None:
    """The offset of the header in the file."""
    return file.find_header(HEADER_MAGIC, _WORDS, alignment=_ALIGNMENT, limit=SEARCHED)


def read_header(file: KernelFile) -> Multiboot2Header:
    """BootError if there is no header, if it is damaged, or if it requires what cannot be given."""
    offset = find_header(file)
    if offset is None:
        raise BootError(f"{file.name}: no Multiboot2 header ({HEADER_MAGIC:#x}) in the first {SEARCHED} bytes")
    _, architecture, length, _ = _HEADER.unpack_from(file.head, offset)
    if architecture != _ARCHITECTURE_I386:
        raise BootError(
            f"{file.name}: its Multiboot2 header is for architecture {architecture}, not for i386 ({_ARCHITECTURE_I386})"
        )
    if offset + length > len(file.head):
        raise BootError(f"{file.name}: its Multiboot2 header ends at offset {offset + length:#x}, behind {len(file.head):#x}")
    header = Multiboot2Header(offset)
    for tag in _tags(file, offset + _HEADER.size, offset + length):
        header = _READERS.get(tag.type, _refuse)(file, header, tag)
    if header.needs_graphics and header.video_mode is None:
        raise BootError(f"{file.name}: its Multiboot2 header requires tag 4 (console flags), which cannot be given")
    if header.addresses is not None and header.entry is None:
        raise BootError(f"{file.name}: its Multiboot2 header has an address tag, but no entry address tag")
    return header


def _tags(file: KernelFile, offset: int, end: int) -> Iterator[_Tag]:
    while offset + _TAG.size <= end:
        kind, flags, size = _TAG.unpack_from(file.head, offset)
        if not _TAG.size <= size <= end - offset:
            raise BootError(
                f"{file.name}: the Multiboot2 header tag at offset {offset:#x} has {size} bytes: "
                f"it must have {_TAG.size} to {end - offset}"
            )
        if kind == HeaderTagType.END:
            return
        yield _Tag(kind, flags, file.head[offset + _TAG.size : offset + size])
        offset += size + -size % _ALIGNMENT


def _fields(file: KernelFile, tag: _Tag, layout: struct.Struct) -> tuple[int, ...]:
    if len(tag.data) < layout.size:
        raise BootError(
            f"{file.name}: the Multiboot2 header tag {tag.type} ({tag.name}) has {_TAG.size + len(tag.data)} bytes, "
            f"not {_TAG.size + layout.size}"
        )
    return layout.unpack_from(tag.data)


def _ignore(file: KernelFile, header: Multiboot2Header, tag: _Tag) -> Multiboot2Header:
    """What is so anyway, such as modules that begin on a page, or is meant for EFI firmware."""
    return header


def _refuse(file: KernelFile, header: Multiboot2Header, tag: _Tag) -> Multiboot2Header:
    if tag.required:
        raise BootError(f"{file.name}: its Multiboot2 header requires tag {tag.type} ({tag.name}), which cannot be given")
    return header


def _request_information(file: KernelFile, header: Multiboot2Header, tag: _Tag) -> Multiboot2Header:
    kinds = [kind for (kind,) in _WORD.iter_unpack(tag.data[: len(tag.data) // _WORD.size * _WORD.size])]
    for kind in kinds:
        if tag.required and kind not in _INFORMATION:
            raise BootError(f"{file.name}: its Multiboot2 header requires information of type {kind}, which is not defined")
    return header


def _read_framebuffer(file: KernelFile, header: Multiboot2Header, tag: _Tag) -> Multiboot2Header:
    """Which mode is but a preference."""
    return header._replace(video_mode=VideoMode.wanted(*_fields(file, tag, _FRAMEBUFFER)))


def _read_addresses(file: KernelFile, header: Multiboot2Header, tag: _Tag) -> Multiboot2Header:
    header_address, load, load_end, bss_end = _fields(file, tag, _ADDRESSES)
    if load == _FROM_BEGINNING:
        load = header_address - header.offset
        if load < 0:
            raise BootError(
                f"{file.name}: its Multiboot2 header is at offset {header.offset:#x}, and wants to be at {header_address:#x} "
                "with all of the file loaded: its beginning would be below address 0"
            )
    return header._replace(addresses=LoadAddresses(header_address, load, load_end, bss_end))


def _read_entry(file: KernelFile, header: Multiboot2Header, tag: _Tag) -> Multiboot2Header:
    (entry,) = _fields(file, tag, _WORD)
    return header._replace(entry=entry)


def _read_console_flags(file: KernelFile, header: Multiboot2Header, tag: _Tag) -> Multiboot2Header:
    (flags,) = _fields(file, tag, _WORD)
    needs_graphics = flags & _CONSOLE_REQUIRED and not flags & _TEXT_MODE_SUPPORTED
    return header._replace(needs_graphics=True) if needs_graphics and tag.required else header


def _read_relocation(file: KernelFile, header: Multiboot2Header, tag: _Tag) -> Multiboot2Header:
    lowest, highest, alignment, _preference = _fields(file, tag, _RELOCATABLE)
    return header._replace(relocation=Relocation(lowest, highest, alignment))


_READERS: Final[Mapping[int, Callable[[KernelFile, Multiboot2Header, _Tag], Multiboot2Header]]] = {
    HeaderTagType.INFORMATION_REQUEST: _request_information,
    HeaderTagType.ADDRESS: _read_addresses,
    HeaderTagType.ENTRY_ADDRESS: _read_entry,
    HeaderTagType.CONSOLE_FLAGS: _read_console_flags,
    HeaderTagType.FRAMEBUFFER: _read_framebuffer,
    HeaderTagType.MODULE_ALIGNMENT: _ignore,
    HeaderTagType.EFI_BOOT_SERVICES: _ignore,
    HeaderTagType.EFI_I386_ENTRY_ADDRESS: _ignore,
    HeaderTagType.EFI_AMD64_ENTRY_ADDRESS: _ignore,
    HeaderTagType.RELOCATABLE: _read_relocation,
}
