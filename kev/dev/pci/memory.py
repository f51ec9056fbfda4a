"""Memory space of PCI functions, on the machine's bus."""

from typing import Final

from kev.addressing import Gpa
from kev.dev.buses.mmio import MmioBus
from kev.dev.pci.space import PciRegisters, PciSpace
from kev.pager.ram import MMIO_HOLE


class PciWindow(PciSpace):
    """Pages that a guest can move. The host bridge forwards what is below 4 GiB and not RAM."""

    __slots__ = ("_bus",)

    _SILENCE = "PCI memory does not respond"

    def __init__(self, name: str, bus: MmioBus, registers: PciRegisters) -> None:
        super().__init__(name, registers)
        self._bus: Final = bus

    @property
    def gpa(self) -> Gpa:
        return Gpa(self._base)

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        return self._registers.read(offset, size)

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        self._registers.write(offset, size, value)

    def _can_be_at(self, base: int) -> bool:
        return base in MMIO_HOLE

    def _attach(self) -> None:
        self._bus.attach(self)

    def _detach(self) -> None:
        self._bus.detach(self)
