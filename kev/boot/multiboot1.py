"""Multiboot 1 (Multiboot Specification 0.6.96)."""

import struct
from typing import Final, Self

from kev.addressing import KIB, Gpa
from kev.boot.base import BootError, BootOptions, BootProtocol
from kev.boot.bios_data import install_bios_data
from kev.boot.boot_memory import BootMemory, PlacedModule
from kev.boot.display import COLOUR_FIELDS, colour_fields, prepare_display
from kev.boot.elf_sections import SectionHeaders, read_section_headers
from kev.boot.entry import protected_mode
from kev.boot.firmware_tables import install_tables
from kev.boot.information import InformationWriter
from kev.boot.kernel_file import KernelFile
from kev.boot.load_addresses import LoadAddresses
from kev.boot.memory_map import lower_memory_kib, memory_map, upper_memory_kib
from kev.dev.display.framebuffer import VideoMode
from kev.engine.base import EntryState
from kev.pager.image import KernelImage
from kev.pager.kernel import KernelVmPager
from kev.pager.memory_region import MemoryRegion
from kev.x86 import REAL_MODE_IDT_LIMIT

HEADER_MAGIC: Final = 0x1BAD_B002
BOOTLOADER_MAGIC: Final = 0x2BAD_B002

_SEARCHED: Final = 8 * KIB
_ALIGNMENT: Final = 4
_WORDS: Final = 3
"""Magic number, flags and checksum."""
_HEADER_FLAGS: Final = struct.Struct("<4xI")
_HEADER_ADDRESSES: Final = struct.Struct("<12x5I")
_HEADER_VIDEO: Final = struct.Struct("<32x4I")
_LINEAR_GRAPHICS: Final = 0

_REQUIREMENTS: Final = 0xFFFF
_MODULES_ON_PAGES: Final = 1 << 0
_MEMORY_INFORMATION: Final = 1 << 1
_VIDEO_MODES: Final = 1 << 2
_LOAD_ADDRESSES: Final = 1 << 16

_INFORMATION: Final = struct.Struct(f"<III4xIII4III12xI20x22s{COLOUR_FIELDS}s")
"""Section 3.3: flags, mem_lower, mem_upper, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr, boot_loader_name;
framebuffer_addr, _pitch, _width, _height, _bpp, _type, and for direct colour, positions and sizes."""
_MODULE: Final = struct.Struct("<III4x")
_REGION: Final = struct.Struct("<IQQI")
_REGION_SIZE_FIELD: Final = 4

_HAS_MEMORY: Final = 1 << 0
_HAS_COMMAND_LINE: Final = 1 << 2
_HAS_MODULES: Final = 1 << 3
_HAS_ELF_SECTIONS: Final = 1 << 5
_HAS_MEMORY_MAP: Final = 1 << 6
_HAS_BOOT_LOADER_NAME: Final = 1 << 9
_HAS_FRAMEBUFFER: Final = 1 << 12

_CODE_SELECTOR: Final = 0x08
_DATA_SELECTOR: Final = 0x10
"""Kernels return to these before they load a GDT of their own, where they happen to mean the same."""


class Multiboot1(BootProtocol):
    """EAX holds the magic number, EBX points to the information, ESP to a stack as GRUB's does, IDTR to real mode's table.

    What is always given: memory, command line (empty or not), modules (none or more), memory map, boot loader name; ELF section
    headers if the image has some and is loaded by its ELF headers. To a kernel that wants a video mode, a framebuffer, or text mode
    if it wants that.
    """

    name = "multiboot1"

    def __init__(self, image: KernelImage, sections: SectionHeaders | None, *, video: bool, mode: VideoMode | None) -> None:
        super().__init__(image)
        self._sections = sections
        self._video = video
        self.video_mode = mode

    @classmethod
    def detect(cls, file: KernelFile) -> str | None:
        offset = _find_header(file)
        if offset is None:
            return None
        is_the_kernel = not file.is_boot_disk or _loads_boot_sector(file, offset)
        return f"a Multiboot header ({HEADER_MAGIC:#x}) at offset {offset:#x}" if is_the_kernel else None

    @classmethod
    def open(cls, file: KernelFile) -> Self:
        """BootError if there is no header, or if it requires what there is not."""
        offset = _find_header(file)
        if offset is None:
            raise BootError(f"{file.name}: no Multiboot header ({HEADER_MAGIC:#x}) in the first {_SEARCHED} bytes")
        (flags,) = _HEADER_FLAGS.unpack_from(file.head, offset)
        _check_requirements(file.name, flags)
        video = bool(flags & _VIDEO_MODES)
        mode = _wanted_mode(file, offset) if video else None
        if not flags & _LOAD_ADDRESSES:
            return cls(file.elf, read_section_headers(file), video=video, mode=mode)
        if offset + _HEADER_ADDRESSES.size > len(file.head):
            raise BootError(f"{file.name}: the file ends within its Multiboot header, at {len(file.head):#x}")
        *addresses, entry = _HEADER_ADDRESSES.unpack_from(file.head, offset)
        segment = LoadAddresses(*addresses).segment(file, offset)
        return cls(KernelImage.from_segments(file.source, [segment], entry), None, video=video, mode=mode)

    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        install_bios_data(pager)
        install_tables(pager, options)
        memory = BootMemory(pager)
        modules = memory.place_modules(options.modules)
        headers = self._sections.place(memory) if self._sections is not None else b""
        display = prepare_display(pager, self.video_mode)
        information = memory.place_information(lambda base: self._information(base, pager, options, modules, headers, display))
        return protected_mode(
            self.image.entry,
            code=_CODE_SELECTOR,
            data=_DATA_SELECTOR,
            idt_limit=REAL_MODE_IDT_LIMIT,
            rax=BOOTLOADER_MAGIC,
            rbx=information,
            rsp=memory.stack,
        )

    def _information(
        self,
        base: Gpa,
        pager: KernelVmPager,
        options: BootOptions,
        modules: list[PlacedModule],
        section_headers: bytes,
        display: bytes,
    ) -> bytes:
        writer = InformationWriter(base, _INFORMATION.size)
        name = self.image.source.name  # kernels look for their own arguments behind it
        flags = _HAS_MEMORY | _HAS_COMMAND_LINE | _HAS_MODULES | _HAS_MEMORY_MAP | _HAS_BOOT_LOADER_NAME
        symbols = (0, 0, 0, 0)
        if self._sections is not None:
            flags |= _HAS_ELF_SECTIONS
            symbols = (self._sections.count, self._sections.entry_size, writer.add(section_headers), self._sections.names)
        if self._video:
            flags |= _HAS_FRAMEBUFFER
        regions = b"".join(map(_region, memory_map(pager.ram)))
        entries = b"".join(_MODULE.pack(module.start, module.end, writer.add_string(module.name_and_text)) for module in modules)
        header = _INFORMATION.pack(
            flags,
            lower_memory_kib(pager.ram),
            upper_memory_kib(pager.ram),
            writer.add_string(f"{name} {options.command_line}" if options.command_line else name),
            len(modules),
            writer.add(entries),
            *symbols,
            len(regions),
            writer.add(regions),
            writer.add_string(options.boot_loader_name),
            display if self._video else b"",
            colour_fields(self.video_mode),
        )
        return writer.finish(header)


def _find_header(file: KernelFile) -> int | None:
    return file.find_header(HEADER_MAGIC, _WORDS, alignment=_ALIGNMENT, limit=_SEARCHED)


def _loads_boot_sector(file: KernelFile, offset: int) -> bool:
    """Whether the header at `offset` is that of the whole file, from its first sector on, and not of a kernel on a disk."""
    (flags,) = _HEADER_FLAGS.unpack_from(file.head, offset)
    if not flags & _LOAD_ADDRESSES or offset + _HEADER_ADDRESSES.size > len(file.head):
        return False
    header, load, *_ = _HEADER_ADDRESSES.unpack_from(file.head, offset)
    return bool(header - load == offset)


def _wanted_mode(file: KernelFile, offset: int) -> VideoMode | None:
    """What the header at `offset` prefers; None is text."""
    if offset + _HEADER_VIDEO.size > len(file.head):
        return None
    kind, *wanted = _HEADER_VIDEO.unpack_from(file.head, offset)
    return VideoMode.wanted(*wanted) if kind == _LINEAR_GRAPHICS else None


def _check_requirements(name: str, flags: int) -> None:
    unknown = flags & _REQUIREMENTS & ~(_MODULES_ON_PAGES | _MEMORY_INFORMATION | _VIDEO_MODES)
    if unknown:
        raise BootError(f"{name}: its Multiboot header requires what is not defined: bits {unknown:#x} of the flags {flags:#x}")


def _region(region: MemoryRegion) -> bytes:
    return _REGION.pack(_REGION.size - _REGION_SIZE_FIELD, region.base, region.length, region.type)
