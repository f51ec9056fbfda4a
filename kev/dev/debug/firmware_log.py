"""Where Bochs's BIOS logs (Bochs, "rombios.h": PANIC_PORT, PANIC_PORT2, INFO_PORT and DEBUG_PORT): it is printed.

QEMU has the third of them as "isa-debugcon", which SeaBIOS and OVMF look for before they write to it. Reads give ones, so that they
write nothing.
"""

from typing import Final

from kev.dev.debug.printing import PrintingDevice


class FirmwareLog(PrintingDevice):
    """A byte is a character. Panics write the numbers of lines, in words, to the first two ports: those are not printed."""

    name: Final = "firmware log"
    ports: Final = (range(0x400, 0x404),)
    wide_ports: Final = (range(0x400, 0x402),)

    __slots__ = ()

    def read_port(self, port: int, size: int) -> int:
        return (1 << 8 * size) - 1

    def write_port(self, port: int, size: int, value: int) -> None:
        if size == 1:
            self._transmit(value)
