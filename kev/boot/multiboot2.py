"""Multiboot2 (Multiboot2 Specification 2.0)."""

from typing import Final, Self

from kev.addressing import Gpa
from kev.boot.acpi import rsdp, rsdp_1
from kev.boot.base import BootError, BootOptions, BootProtocol
from kev.boot.bios_data import install_bios_data
from kev.boot.boot_memory import BootMemory
from kev.boot.display import colour_fields, prepare_display
from kev.boot.elf_sections import SectionHeaders, read_section_headers
from kev.boot.entry import MULTIBOOT2_MAGIC, protected_mode
from kev.boot.firmware_tables import ACPI_TABLES, install_tables
from kev.boot.kernel_file import KernelFile, with_physical_entry
from kev.boot.memory_map import lower_memory_kib, memory_map, upper_memory_kib
from kev.boot.multiboot2_header import HEADER_MAGIC, Multiboot2Header, Relocation, find_header, read_header
from kev.engine.base import EntryState
from kev.pager.image import KernelImage
from kev.pager.kernel import KernelVmPager
from kev.pager.mbi import MbiWriter

_CODE_SELECTOR: Final = 0x10
_DATA_SELECTOR: Final = 0x18
"""The specification leaves them open; these are GRUB's, and KeV's."""
_LIKE_GRUB: Final = "(like GRUB 2)"
"""Xen takes the first word of a command line for the kernel's name, unless the loader's has "GRUB 2" in it."""
_FIRST_HARD_DISK: Final = 0x80
"""As the BIOS counts."""


class Multiboot2(BootProtocol):
    """EAX holds the magic number, EBX points to the information, ESP to a stack as GRUB's does.

    What is given is what GRUB gives: load base, command line (empty or not), boot loader name, modules, memory, memory map, the
    boot device (the first hard disk, whether there is one or not), the display, the ACPI RSDP of both versions, and ELF section
    headers if the image has some and is loaded by its ELF headers. A kernel is never moved. The display is a framebuffer for one
    that has a framebuffer tag, else text mode.
    """

    name = "multiboot2"

    def __init__(self, image: KernelImage, sections: SectionHeaders | None, header: Multiboot2Header) -> None:
        super().__init__(image)
        self._sections = sections
        self.video_mode = header.video_mode

    @classmethod
    def detect(cls, file: KernelFile) -> str | None:
        offset = find_header(file)
        if offset is None or file.is_boot_disk:
            return None
        return f"a Multiboot2 header ({HEADER_MAGIC:#x}) at offset {offset:#x}"

    @classmethod
    def open(cls, file: KernelFile) -> Self:
        """BootError if there is no header, or if it requires what there is not."""
        header = read_header(file)
        image = _load(file, header)
        if header.relocation is not None:
            _check_place(image, header.relocation)
        sections = read_section_headers(file) if header.addresses is None else None
        return cls(image, sections, header)

    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        install_bios_data(pager)
        install_tables(pager, options)
        memory = BootMemory(pager)
        contents = self._information(pager, options, memory)
        information = memory.place_information(lambda _base: contents)
        return protected_mode(
            self.image.entry,
            code=_CODE_SELECTOR,
            data=_DATA_SELECTOR,
            rax=MULTIBOOT2_MAGIC,
            rbx=information,
            rsp=memory.stack,
        )

    def _information(self, pager: KernelVmPager, options: BootOptions, memory: BootMemory) -> bytes:
        tables = Gpa(ACPI_TABLES.start)
        writer = MbiWriter().load_base(self.image.start).command_line(options.command_line)
        writer.boot_loader_name(f"{options.boot_loader_name} {_LIKE_GRUB}")
        for module in memory.place_modules(options.modules):
            writer.module(module.start, module.end, module.text)
        writer.basic_memory(lower_memory_kib(pager.ram), upper_memory_kib(pager.ram)).memory_map(memory_map(pager.ram))
        if self._sections is not None:
            headers = self._sections.place(memory)
            writer.elf_sections(self._sections.count, self._sections.entry_size, self._sections.names, headers)
        writer.boot_device(_FIRST_HARD_DISK)
        writer.framebuffer(prepare_display(pager, self.video_mode), colour_fields(self.video_mode))
        return writer.rsdp(rsdp_1(tables)).rsdp(rsdp(tables)).finish()


def _load(file: KernelFile, header: Multiboot2Header) -> KernelImage:
    if header.addresses is not None and header.entry is not None:
        return KernelImage.from_segments(file.source, [header.addresses.segment(file, header.offset)], header.entry)
    if header.entry is not None:
        return with_physical_entry(file.elf, header.entry, "the entry address of its Multiboot2 header")
    return file.elf


def _check_place(image: KernelImage, relocation: Relocation) -> None:
    """BootError if the image must be moved."""
    fits = relocation.lowest <= image.start and image.end - 1 <= relocation.highest
    if not fits or image.start % max(relocation.alignment, 1):
        raise BootError(
            f"{image.source.name}: its Multiboot2 header wants it between {relocation.lowest:#x} and {relocation.highest:#x}, "
            f"aligned to {relocation.alignment:#x}: it is linked at {image.start:#x}-{image.end:#x}, and cannot be moved"
        )
