"""PVH: direct boot of a kernel with a Xen note (Xen, "x86/HVM direct boot ABI" and public/arch-x86/hvm/start_info.h)."""

import struct
from typing import Final, Self

from kev.addressing import Gpa
from kev.boot.base import BootError, BootOptions, BootProtocol
from kev.boot.bios_data import install_bios_data
from kev.boot.boot_memory import BootMemory, PlacedModule
from kev.boot.elf_notes import Notes, read_notes
from kev.boot.entry import protected_mode
from kev.boot.firmware_tables import ACPI_TABLES, install_tables
from kev.boot.information import InformationWriter
from kev.boot.kernel_file import KernelFile, with_physical_entry
from kev.boot.memory_map import memory_map
from kev.engine.base import EntryState
from kev.pager.errors import ImageError
from kev.pager.kernel import KernelVmPager
from kev.x86 import CR0_ET, CR0_PE

START_MAGIC: Final = 0x336E_C578

_NOTE_NAME: Final = b"Xen"
_PHYS32_ENTRY: Final = 18
_ENTRY_SIZES: Final = (4, 8)

_VERSION: Final = 1
_START_INFO: Final = struct.Struct("<IIIIQQQQI4x")
"""magic, version, flags, nr_modules, modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr, memmap_entries."""
_MODULE: Final = struct.Struct("<QQQ8x")
_REGION: Final = struct.Struct("<QQI4x")

_CODE_SELECTOR: Final = 0x08
_DATA_SELECTOR: Final = 0x10
_CR0: Final = CR0_PE | CR0_ET  # which is fixed; every other writable bit is 0


class Pvh(BootProtocol):
    """EBX points to the start information; the entry is in a note of type 18, XEN_ELFNOTE_PHYS32_ENTRY."""

    name = "pvh"

    @classmethod
    def detect(cls, file: KernelFile) -> str | None:
        try:
            found = file.is_elf and _find_entry(read_notes(file)) is not None
        except ImageError:
            return None
        return f"a note of {_NOTE_NAME.decode()} of type {_PHYS32_ENTRY}, which holds the PVH entry" if found else None

    @classmethod
    def open(cls, file: KernelFile) -> Self:
        """BootError if there is no such note."""
        notes = read_notes(file)
        entry = _find_entry(notes)
        if entry is None:
            missing = f"no ELF note {_NOTE_NAME.decode()} of type {_PHYS32_ENTRY}, which holds the PVH entry"
            raise BootError("; ".join([f"{file.name}: {missing}", *notes.damage]))
        return cls(with_physical_entry(file.elf, entry, "the PVH entry"))

    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        install_bios_data(pager)
        install_tables(pager, options)
        memory = BootMemory(pager)
        modules = memory.place_modules(options.modules)
        information = memory.place_information(lambda base: _start_information(base, pager, options, modules))
        return protected_mode(self.image.entry, code=_CODE_SELECTOR, data=_DATA_SELECTOR, cr0=_CR0, rbx=information)


def _find_entry(notes: Notes) -> int | None:
    for note in notes.notes:
        if note.name == _NOTE_NAME and note.type == _PHYS32_ENTRY and len(note.description) in _ENTRY_SIZES:
            return int.from_bytes(note.description, "little")
    return None


def _start_information(base: Gpa, pager: KernelVmPager, options: BootOptions, modules: list[PlacedModule]) -> bytes:
    writer = InformationWriter(base, _START_INFO.size)
    entries = b"".join(_MODULE.pack(module.start, module.end - module.start, writer.add_string(module.text)) for module in modules)
    regions = memory_map(pager.ram)
    header = _START_INFO.pack(
        START_MAGIC,
        _VERSION,
        0,
        len(modules),
        writer.add(entries) if modules else 0,
        writer.add_string(options.command_line),
        ACPI_TABLES.start,
        writer.add(b"".join(_REGION.pack(region.base, region.length, region.type) for region in regions)),
        len(regions),
    )
    return writer.finish(header)
