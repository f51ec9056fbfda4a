"""The Linux boot protocol, by the kernel's 32-bit or 64-bit entry (Linux, Documentation/arch/x86/boot.rst)."""

import struct
from typing import Final, NamedTuple, Self

from kev.addressing import Gpa, Gva
from kev.boot.base import BootError, BootOptions, BootProtocol
from kev.boot.bios_data import install_bios_data
from kev.boot.boot_memory import BootMemory
from kev.boot.boot_params import CODE_SELECTOR, DATA_SELECTOR, LinuxInformation, Placed, boot_information
from kev.boot.entry import long_mode, protected_mode
from kev.boot.firmware_tables import ACPI_TABLES, install_tables
from kev.boot.kernel_file import KernelFile
from kev.boot.linux_header import called, has_header, protocol_version, read_header, version_text
from kev.boot.memory_map import memory_map, upper_memory_kib
from kev.boot.vmlinux import find_linux
from kev.engine.base import EntryState
from kev.pager.errors import ImageError
from kev.pager.image import KernelImage, Segment
from kev.pager.kernel import KernelVmPager

_RWX: Final = 7
_ENTROPY: Final = 32  # bytes

_VERSION: Final = 0x020F
_HEADER: Final = struct.Struct("<13xH2x4sH9xB26xI8xI")
"""What a vmlinux is given in place of a header of its own: boot_flag, header, version, loadflags, initrd_addr_max and
cmdline_size."""
_BOOT_FLAG: Final = 0xAA55
_LOADED_HIGH: Final = 1 << 0
_HIGHEST_INITRD: Final = {32: 0x37FF_FFFF, 64: 0x7FFF_FFFF}
_COMMAND_LINE_SIZE: Final = 2047


class _Setup(NamedTuple):
    """What the protocol needs to know of a kernel besides its image."""

    header: bytes
    highest_initrd: int
    command_line_size: int


class Linux(BootProtocol):
    """RSI points to the zero page. A bzImage is decompressed by its own code, where it lies, and a vmlinux runs where it is linked.

    A kernel that has a 64-bit entry is entered there, with the first 4 GiB mapped at their own addresses; another one at its 32-bit
    entry. Its 16-bit code is never run. The modules, one behind the other, are the initial RAM disk; it lies as high as it may.
    """

    name = "linux"

    def __init__(self, image: KernelImage, setup: _Setup, mode: int) -> None:
        super().__init__(image)
        self.mode = mode
        self._setup = setup

    @classmethod
    def detect(cls, file: KernelFile) -> str | None:
        if has_header(file):
            return f"a Linux boot header (HdrS, protocol {version_text(protocol_version(file))}) of {called(file)}"
        try:
            return find_linux(file) if file.is_elf else None
        except ImageError:
            return None

    @classmethod
    def open(cls, file: KernelFile) -> Self:
        """BootError if the image is neither a bzImage with a 32-bit entry, nor an ELF file."""
        if not file.is_elf:
            return cls._open_bzimage(file)
        image = file.elf
        header = _HEADER.pack(_BOOT_FLAG, b"HdrS", _VERSION, _LOADED_HIGH, _HIGHEST_INITRD[image.bits], _COMMAND_LINE_SIZE)
        return cls(image, _Setup(header, _HIGHEST_INITRD[image.bits], _COMMAND_LINE_SIZE), image.bits)

    @classmethod
    def _open_bzimage(cls, file: KernelFile) -> Self:
        header = read_header(file)
        start, mode = header.load_address, 64 if header.has_long_mode else 32
        kernel = Segment(Gpa(start), Gva(start), header.kernel_offset, header.kernel_size, header.end - start, _RWX)
        image = KernelImage.from_segments(file.source, [kernel], header.entry, mode)
        setup = _Setup(header.raw, header.highest_initrd, header.command_line_size)
        return cls(image, setup, mode)

    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        self.refuse(options)
        install_bios_data(pager)
        install_tables(pager, options)
        memory = BootMemory(pager)
        information = LinuxInformation(
            header=self._setup.header,
            load_address=self.image.start,
            command_line=options.command_line,
            initrd=memory.place_high(options.modules, self._setup.highest_initrd),
            regions=memory_map(pager.ram),
            upper_memory_kib=upper_memory_kib(pager.ram),
            rsdp=ACPI_TABLES.start,
            entropy=b"" if options.random is None else options.random(_ENTROPY),
            long_mode=self.mode == 64,
        )
        zero_page = memory.place_information(lambda base: boot_information(base, information)[0])
        _, placed = boot_information(zero_page, information)
        return self._entry(zero_page, placed)

    def refuse(self, options: BootOptions) -> None:
        """BootError also if a module has a command line, or if the kernel's is too long for it."""
        super().refuse(options)
        for module in options.modules:
            if module.command_line:
                raise BootError(f"module {module.name!r}: an initial RAM disk has no command line such as {module.command_line!r}")
        length = len(options.command_line.encode("utf-8", "surrogateescape"))
        if length > self._setup.command_line_size:
            raise BootError(
                f"{self.image.source.name}: the command line has {length} bytes; the kernel takes {self._setup.command_line_size}"
            )

    def _entry(self, zero_page: Gpa, placed: Placed) -> EntryState:
        entry, code, data = self.image.entry, CODE_SELECTOR, DATA_SELECTOR
        if self.mode == 64:
            return long_mode(entry, code=code, data=data, page_tables=placed.page_tables, gdt=placed.gdt, rsi=zero_page)
        return protected_mode(entry, code=code, data=data, gdt=placed.gdt, rsi=zero_page)
