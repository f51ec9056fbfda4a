"""The Linux boot protocol by its 16-bit entry (Linux, Documentation/arch/x86/boot.rst, "The real-mode kernel header").

Kernels need nothing but their 32-bit entry. Programs in the form of one, such as iPXE and memdisk, have none, and call the BIOS.
"""

import struct
from typing import Final, NamedTuple, Self

from kev.addressing import KIB, MIB, Gpa, Gva, page_ceil, page_floor
from kev.boot.base import BootError, BootOptions, BootProtocol, Module, c_string
from kev.boot.bios_data import install_bios_data
from kev.boot.entry import through_bios
from kev.boot.firmware_tables import install_tables
from kev.boot.generated import place_generated
from kev.boot.kernel_file import SECTOR_SIZE, KernelFile
from kev.boot.linux_header import (
    HEADER_OFFSET,
    LOADED_HIGH,
    MAGIC,
    MAGIC_OFFSET,
    SETUP_SECTORS_OF_0,
    called,
    has_header,
    protocol_version,
)
from kev.engine.base import EntryState
from kev.pager.image import KernelImage, Segment
from kev.pager.kernel import KernelVmPager

_SEGMENT: Final = 0x9000
_SETUP: Final = _SEGMENT << 4
"""Where the 16-bit code is, from the file's first sector on."""
_ENTRY_SEGMENT: Final = _SEGMENT + 0x20
_STACK: Final = 0x9000
"""Offsets from there on; the heap ends below the stack, and the command line is above."""
_HEAP_END: Final = _STACK - 0x200
_COMMAND_LINE: Final = 0x9000
_COMMAND_LINE_SIZE: Final = 4 * KIB
_HIGH: Final = MIB
_HIGHEST: Final = 896 * MIB
_RWX: Final = 7

_WORDS: Final = 0x210
_FIELDS: Final = struct.Struct("<BBHIIIIHHI")
"""From `_WORDS` on: type_of_loader, loadflags, setup_move_size, code32_start, ramdisk_image, ramdisk_size, bootsect_kludge,
heap_end_ptr, ext_loader_ver and ext_loader_type, cmd_line_ptr."""
_HAS_COMMAND_LINE_POINTER: Final = 0x0202
_HAS_32_BIT_ENTRY: Final = 0x0204
_UNDEFINED_LOADER: Final = 0xFF
_CAN_USE_HEAP: Final = 1 << 7


class _Setup(NamedTuple):
    """What of the header is needed."""

    sectors: int
    version: int
    load_flags: int
    code32_start: int


class Linux16(BootProtocol):
    """The 16-bit code at 9000:0000, entered at 9020:0000, and the rest of the file at 1 MiB. A module is its initial RAM disk."""

    name = "linux16"
    mode = 16

    def __init__(self, image: KernelImage, setup: _Setup) -> None:
        super().__init__(image)
        self._setup = setup

    @classmethod
    def detect(cls, file: KernelFile) -> str | None:
        """There is such code, and no 32-bit entry beside it."""
        setup = _read_setup(file)
        if setup is None or (setup.version >= _HAS_32_BIT_ENTRY and setup.code32_start):
            return None
        return f"a Linux boot header (HdrS) without a 32-bit entry of {called(file)}"

    @classmethod
    def open(cls, file: KernelFile) -> Self:
        """BootError if there is no header, or if it is older than command lines, or loaded below 1 MiB."""
        setup = _read_setup(file)
        if setup is None:
            raise BootError(f"{file.name}: no Linux boot header: at offset {MAGIC_OFFSET:#x} is no {MAGIC.decode()}")
        if setup.version < _HAS_COMMAND_LINE_POINTER or not setup.load_flags & LOADED_HIGH:
            raise BootError(f"{file.name}: its Linux boot header says that it is loaded below 1 MiB, as before Linux 2.4")
        size = setup.sectors * SECTOR_SIZE
        rest = file.source.size - size
        if size > _HEAP_END or rest <= 0:
            raise BootError(f"{file.name}: its 16-bit code has {size:,} bytes, the file {file.source.size:,}")
        segments = [
            Segment(Gpa(_SETUP), Gva(_SETUP), 0, size, size, _RWX),
            Segment(Gpa(_HIGH), Gva(_HIGH), size, rest, rest, _RWX),
        ]
        return cls(KernelImage.from_segments(file.source, segments, _ENTRY_SEGMENT << 4), setup)

    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        name, line = self.image.source.name, c_string(options.command_line)
        if len(options.modules) > 1:
            raise BootError(f"module {options.modules[1].name!r}: the {self.name} boot protocol passes one, the initial RAM disk")
        if len(line) > _COMMAND_LINE_SIZE:
            raise BootError(f"{name}: the command line has {len(line) - 1} bytes; there is room for {_COMMAND_LINE_SIZE - 1}")
        install_bios_data(pager, options.hard_disks)
        install_tables(pager, options)
        start, size = _place_ram_disk(pager, options.modules[0]) if options.modules else (0, 0)
        fields = _FIELDS.pack(
            _UNDEFINED_LOADER,
            self._setup.load_flags | _CAN_USE_HEAP,
            0,
            self._setup.code32_start,
            start,
            size,
            0,
            _HEAP_END,
            0,
            _SETUP + _COMMAND_LINE,
        )
        place_generated(pager, Gpa(_SETUP + _WORDS), len(fields), lambda: fields)
        place_generated(pager, Gpa(_SETUP + _COMMAND_LINE), len(line), lambda: line)
        return through_bios(_ENTRY_SEGMENT, 0, data=_SEGMENT, rsp=_STACK)


def _place_ram_disk(pager: KernelVmPager, module: Module) -> tuple[int, int]:
    """Its address and size: as high as there is RAM below 896 MiB, since memdisk keeps what lies below it for who it boots."""
    size = module.source.size
    start = page_floor(min(pager.ram[0].stop, _HIGHEST) - size)
    if start < page_ceil(pager.image.end):
        raise BootError(
            f"module {module.name!r}: its {size:#x} bytes do not fit behind the image, which ends at {pager.image.end:#x}"
        )
    pager.load_phdr(Segment(Gpa(start), Gva(start), 0, size, size), module.source)
    return start, size


def _read_setup(file: KernelFile) -> _Setup | None:
    fields = file.head[_WORDS : _WORDS + _FIELDS.size]
    if len(fields) < _FIELDS.size or not has_header(file):
        return None
    _, load_flags, _, code32_start, *_ = _FIELDS.unpack(fields)
    return _Setup(1 + (file.head[HEADER_OFFSET] or SETUP_SECTORS_OF_0), protocol_version(file), load_flags, code32_start)
