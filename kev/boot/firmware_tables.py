"""The tables with which a PC's firmware lists processors, interrupt controllers and devices, made when a guest looks for them."""

from collections.abc import Callable
from typing import Final

from kev.addressing import Gpa
from kev.boot.base import BootOptions
from kev.boot.generated import place_generated, reaches_into
from kev.pager.kernel import KernelVmPager

ACPI_TABLES: Final = range(0xF2000, 0xF4000)
MP_TABLE: Final = range(0xF0000, 0xF2000)
"""Where kernels look for them, and the memory map says that firmware is: ACPI Specification 6.5, section 5.2.5.1; MultiProcessor
Specification 1.4, chapter 4.

As large as the tables of 255 processors.
"""


def install_tables(pager: KernelVmPager, options: BootOptions) -> None:
    """Registers the pages of the ACPI tables and of the MP table, each unless the kernel's own image lies there."""
    _install(pager, ACPI_TABLES, lambda: _acpi_tables(options))
    _install(pager, MP_TABLE, lambda: _mp_table(options.vcpus))


def _install(pager: KernelVmPager, addresses: range, generate: Callable[[], bytes]) -> None:
    if not any(reaches_into(segment, addresses) for segment in pager.image.segments):
        place_generated(pager, Gpa(addresses.start), len(addresses), generate)


def _acpi_tables(options: BootOptions) -> bytes:
    from kev.boot.acpi import acpi_tables

    return acpi_tables(Gpa(ACPI_TABLES.start), options.vcpus, options.virtio, options.pci)


def _mp_table(vcpus: int) -> bytes:
    from kev.boot.mp_table import mp_table

    return mp_table(Gpa(MP_TABLE.start), vcpus)
