"""The setup header of a bzImage: what a Linux kernel says of itself (Linux, Documentation/arch/x86/boot.rst)."""

import struct
from typing import Final, NamedTuple

from kev.addressing import page_ceil
from kev.boot.base import BootError
from kev.boot.kernel_file import SECTOR_SIZE, KernelFile

HEADER_OFFSET: Final = 0x1F1
"""Where the header is, both in the file and in the zero page."""
HEADER_LIMIT: Final = 0x290
"""Where the zero page has the next field."""

MAGIC_OFFSET: Final = 0x202
MAGIC: Final = b"HdrS"
_VERSION_OFFSET: Final = 0x206
_JUMP_TARGET: Final = 0x201
"""The offset of the header's end from `MAGIC_OFFSET`."""
_FIELDS: Final = struct.Struct("<B2xI14xH6xHxB2xI20xIIBxHI28xQI")
"""From `HEADER_OFFSET` on: setup_sects, syssize, version, kernel_version, loadflags, code32_start, initrd_addr_max,
kernel_alignment, relocatable_kernel, xloadflags, cmdline_size, pref_address and init_size."""
SETUP_SECTORS_OF_0: Final = 4
_VERSION_TEXT: Final = 128
"""The most that is read of the text."""

_LEAST_VERSION: Final = 0x0204
"""Before, setup code could not be left out, and the size of the kernel was not known."""
_HAS_ALIGNMENT: Final = 0x0205
_HAS_COMMAND_LINE_SIZE: Final = 0x0206
_HAS_PREFERRED_ADDRESS: Final = 0x020A
_HAS_LONG_MODE: Final = 0x020C
_COMMAND_LINE_SIZE: Final = 255
_PARAGRAPH: Final = 16

LOADED_HIGH: Final = 1 << 0
_KERNEL_64: Final = 1 << 0
_ENTRY_64: Final = 0x200
"""Where the 64-bit entry is, behind the 32-bit one."""


class LinuxHeader(NamedTuple):
    """What is needed of the header. Addresses are guest-physical, sizes in bytes."""

    raw: bytes
    """The header, as it goes into the zero page."""
    kernel_offset: int
    """Where the file has what is loaded."""
    kernel_size: int
    load_address: int
    end: int
    """Behind the last byte that the kernel needs before it knows the memory map: it is decompressed there, in place."""
    has_long_mode: bool
    """There is a 64-bit entry besides the 32-bit one."""
    highest_initrd: int
    """The address of the last byte that an initial RAM disk may have."""
    command_line_size: int
    """The most that a command line may have, the zero byte aside."""

    @property
    def entry(self) -> int:
        """The 64-bit entry, if there is one."""
        return self.load_address + (_ENTRY_64 if self.has_long_mode else 0)


def has_header(file: KernelFile) -> bool:
    """Whether there is one, usable or not."""
    return file.head.startswith(MAGIC, MAGIC_OFFSET) and not file.is_elf


def protocol_version(file: KernelFile) -> int:
    """Of a header that is there: the major number in bits 15 to 8."""
    return int.from_bytes(file.bytes_at(_VERSION_OFFSET, 2), "little")


def called(file: KernelFile) -> str:
    """What an image calls itself, in quotes, or that it does not."""
    name = kernel_version(file)
    return f'"{name}"' if name else "an image without a name"


def kernel_version(file: KernelFile) -> str:
    """What the image calls itself, empty if it does not: its first line, without what does not print."""
    header = file.head[HEADER_OFFSET:].ljust(_FIELDS.size, b"\0")
    pointer = _FIELDS.unpack_from(header)[3]
    if not pointer:
        return ""
    text = file.head[pointer + SECTOR_SIZE : pointer + SECTOR_SIZE + _VERSION_TEXT].partition(b"\0")[0]
    return "".join(character for character in text.decode("ascii", "ignore") if character.isprintable())


def read_header(file: KernelFile) -> LinuxHeader:
    """BootError if there is no header, or none by which the kernel can be entered without its 16-bit code."""
    if not has_header(file):
        raise BootError(f"{file.name}: no Linux boot header: at offset {MAGIC_OFFSET:#x} is no {MAGIC.decode()}")
    if len(file.head) < HEADER_OFFSET + _FIELDS.size:
        raise BootError(f"{file.name}: the file ends within its Linux boot header, at {len(file.head):#x}")
    (
        setup_sectors, paragraphs, version, _, load_flags, code32_start, highest_initrd, alignment, relocatable, x_load_flags,
        command_line_size, preferred, init_size,
    ) = _FIELDS.unpack_from(file.head, HEADER_OFFSET)  # fmt: skip
    _check_entry(file, version, load_flags, code32_start)
    offset = (1 + (setup_sectors or SETUP_SECTORS_OF_0)) * SECTOR_SIZE
    size = _kernel_size(file, offset, paragraphs * _PARAGRAPH)
    if version < _HAS_PREFERRED_ADDRESS:
        preferred, init_size = code32_start, 0
    movable = version >= _HAS_ALIGNMENT and bool(relocatable)
    load_address = max(code32_start, preferred) if movable else code32_start
    if movable and alignment:
        load_address = -(-load_address // alignment) * alignment
    runs_at = load_address if movable else preferred
    return LinuxHeader(
        raw=file.head[HEADER_OFFSET : min(MAGIC_OFFSET + file.head[_JUMP_TARGET], HEADER_LIMIT)],
        kernel_offset=offset,
        kernel_size=size,
        load_address=load_address,
        end=page_ceil(max(load_address + size, runs_at + init_size)),
        has_long_mode=version >= _HAS_LONG_MODE and bool(x_load_flags & _KERNEL_64),
        highest_initrd=highest_initrd,
        command_line_size=command_line_size if version >= _HAS_COMMAND_LINE_SIZE else _COMMAND_LINE_SIZE,
    )


def version_text(version: int) -> str:
    """Such as 2.15."""
    return f"{version >> 8}.{version & 0xFF:02}"


def _check_entry(file: KernelFile, version: int, load_flags: int, code32_start: int) -> None:
    """BootError, which says what the image is, if only its 16-bit code can be entered."""
    name = kernel_version(file)
    called = f'it calls itself "{name}"' if name else "it does not say what it is"
    if not code32_start:
        kind = "no Linux kernel, but a program in the form of one, such as iPXE's .lkrn: it has no 32-bit entry (code32_start is 0)"
    elif version < _LEAST_VERSION:
        kind = (
            "a Linux kernel before 2.6.14, or a program in the form of one, such as memdisk: "
            f"its boot protocol is {version_text(version)}, and kernels have a 32-bit entry from {version_text(_LEAST_VERSION)} on"
        )
    elif not load_flags & LOADED_HIGH:
        kind = "a zImage, which is loaded below 1 MiB"
    else:
        return
    raise BootError(f"{file.name}: {kind}; {called}; only its 16-bit code can be run: boot it by linux16")


def _kernel_size(file: KernelFile, offset: int, size: int) -> int:
    """How much of the file is loaded: a signature may follow. BootError if it is cut off."""
    rest = file.source.size - offset
    if rest <= 0 or size - rest >= _PARAGRAPH:
        raise BootError(
            f"{file.name}: its kernel lies at {offset:#x}-{offset + size:#x}, the file ends at {file.source.size:#x}: truncated"
        )
    return min(size, rest) if size else rest
