"""Ports of PCI functions, on the machine's bus."""

from collections.abc import Sequence
from typing import Final

from kev.dev.buses.ports import PORTS, PortBus
from kev.dev.pci.space import PciRegisters, PciSpace


class PciPorts(PciSpace):
    """Ports that a guest can move."""

    __slots__ = ("_bus", "_was_placed")

    _SILENCE = "PCI ports do not respond"

    def __init__(self, name: str, bus: PortBus, registers: PciRegisters) -> None:
        super().__init__(name, registers)
        self._bus: Final = bus
        self._was_placed = False

    @property
    def ports(self) -> Sequence[range]:
        return (range(self._base, self._base + self.length),)

    @property
    def wide_ports(self) -> Sequence[range]:
        return self.ports

    def read_port(self, port: int, size: int) -> int:
        return self._registers.read(port - self._base, size)

    def write_port(self, port: int, size: int, value: int) -> None:
        self._registers.write(port - self._base, size, value)

    def _can_be_at(self, base: int) -> bool:
        return 0 < base <= PORTS - self.length

    def _attach(self) -> None:
        if self._was_placed:
            # The guest moves them: now it counts what is there, also if nobody has looked for it yet.
            while self._bus.find_more():
                pass
        self._was_placed = True
        self._bus.attach(self)

    def _detach(self) -> None:
        self._bus.detach(self)
