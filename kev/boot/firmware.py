"""What a PC's firmware leaves in memory: the BIOS data area and the tables that list the processors.

No firmware runs here; the pages are generated when a guest looks for them. What the kernel's own image occupies is left to it.
"""

import struct
from collections.abc import Callable
from typing import Final

from kev.addressing import KIB, Gpa
from kev.boot.boot_memory import reaches_into
from kev.boot.generated import place_generated
from kev.boot.memory_map import EBDA, lower_memory_kib
from pager.kernel import KernelVmPager

ACPI_TABLES: Final = range(0xE0000, 0xE2000)
MP_TABLE: Final = range(0xF0000, 0xF2000)
"""Where kernels begin to look for them: ACPI Specification 6.5, section 5.2.5.1; MultiProcessor Specification 1.4, chapter 4.

As large as the tables of 255 processors.
"""

_EBDA_SEGMENT: Final = Gpa(0x40E)
"""In the BIOS data area, the real-mode segment of the EBDA; at 0x413, the KiB of base memory."""
_BIOS_DATA: Final = struct.Struct("<H3xH")


def install_tables(pager: KernelVmPager, vcpus: int) -> None:
    """Registers the pages of the ACPI tables and of the MP table."""
    _install(pager, ACPI_TABLES, lambda: _acpi_tables(vcpus))
    _install(pager, MP_TABLE, lambda: _mp_table(vcpus))


def install_bios_data(pager: KernelVmPager) -> None:
    """Registers what there is of the BIOS data area, and the first byte of the EBDA, which is its size in KiB."""
    words = _BIOS_DATA.pack(EBDA.start >> 4, lower_memory_kib(pager.ram))
    _install(pager, range(_EBDA_SEGMENT, _EBDA_SEGMENT + len(words)), lambda: words)
    _install(pager, range(EBDA.start, EBDA.start + 1), lambda: bytes([len(EBDA) // KIB]))


def _acpi_tables(vcpus: int) -> bytes:
    from kev.boot.acpi import acpi_tables

    return acpi_tables(Gpa(ACPI_TABLES.start), vcpus)


def _mp_table(vcpus: int) -> bytes:
    from kev.boot.mp_table import mp_table

    return mp_table(Gpa(MP_TABLE.start), vcpus)


def _install(pager: KernelVmPager, addresses: range, generate: Callable[[], bytes]) -> None:
    if not any(reaches_into(segment, addresses) for segment in pager.image.segments):
        place_generated(pager, Gpa(addresses.start), len(addresses), generate)
