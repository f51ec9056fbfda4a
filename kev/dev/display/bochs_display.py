"""Bochs' display on the PCI bus, as QEMU has it (QEMU, "Standard VGA"): memory that is a framebuffer, and registers in memory."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from kev.dev.buses.mmio import MmioBus
from kev.dev.buses.ports import PortBus
from kev.dev.pci.function import BaseAddress, PciFunction, PciIdentity
from kev.dev.pci.memory import PciWindow
from kev.dev.pci.space import PciSpace
from kev.pager.ram import FRAMEBUFFER
from kev.state import Stateless

if TYPE_CHECKING:
    from kev.dev.display.mode_registers import ModeRegisters

_IDENTITY: Final = PciIdentity(0x1234, 0x1111, 0x03_0000, revision=2, subsystem_vendor=0x1AF4, subsystem=0x1100)
_REGISTERS_AT: Final = 0xFEBF_0000
"""Where QEMU's firmware puts them."""
_PAGE: Final = 0x1000
_VGA_PORTS: Final = range(0x400, 0x420)
"""In that page: ports from 3c0h on."""
_FIRST_PORT: Final = 0x3C0
_MODE: Final = range(0x500, 0x516)
_EXTENSION_SIZE: Final = 0x600
_BYTE_ORDER: Final = 0x604
_EXTENSION: Final = {_EXTENSION_SIZE: 8, _BYTE_ORDER: 0x1E1E_1E1E}
"""Registers of QEMU's own: how many bytes they are, and that pixels are little-endian."""


class _Nothing(Stateless):
    """What a framebuffer's memory has beside its contents."""

    length: Final = len(FRAMEBUFFER)

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        pass


class _FramebufferSpace(PciSpace):
    """Guest memory, which stays where it is."""

    __slots__ = ()

    _SILENCE = "the framebuffer does not respond"

    def _can_be_at(self, base: int) -> bool:
        return base == FRAMEBUFFER.start

    def _attach(self) -> None:
        pass

    def _detach(self) -> None:
        pass


class DisplayRegisters(Stateless):
    """The page of registers. There is no EDID at its beginning."""

    length: Final = _PAGE

    __slots__ = ("_find_mode", "_ports")

    def __init__(self, find_mode: Callable[[], "ModeRegisters"], ports: PortBus) -> None:
        self._find_mode: Final = find_mode
        self._ports: Final = ports

    def read(self, offset: int, size: int) -> int:
        if offset in _VGA_PORTS:
            return self._ports.read(_FIRST_PORT + offset - _VGA_PORTS.start, min(size, 2))
        if offset in _MODE:
            return self._find_mode().read((offset - _MODE.start) // 2) & (1 << 8 * size) - 1
        return _EXTENSION.get(offset, 0) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        if offset in _VGA_PORTS:
            self._ports.write(_FIRST_PORT + offset - _VGA_PORTS.start, min(size, 2), value & 0xFFFF)
        elif offset in _MODE:
            self._find_mode().write((offset - _MODE.start) // 2, value & 0xFFFF)


def bochs_display(name: str, find_mode: Callable[[], "ModeRegisters"], ports: PortBus, memory: MmioBus) -> PciFunction:
    """The function, with the registers that `find_mode` gives it when they are accessed, and those behind `ports`."""
    function = PciFunction(name, _IDENTITY)
    framebuffer = _FramebufferSpace(f"{name}: framebuffer", _Nothing())
    registers = PciWindow(f"{name}: registers", memory, DisplayRegisters(find_mode, ports))
    function.map(BaseAddress(0, FRAMEBUFFER.start, framebuffer, is_prefetchable=True))
    function.map(BaseAddress(2, _REGISTERS_AT, registers))
    return function
