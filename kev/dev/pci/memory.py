"""Memory space of PCI functions, on the machine's bus."""

from typing import Final, Protocol

from kev import log
from kev.addressing import Gpa
from kev.dev.buses.claims import DeviceConflict
from kev.dev.buses.mmio import MmioBus
from kev.pager.ram import MMIO_HOLE


class PciRegisters(Protocol):
    """What lies in the memory space of a function."""

    @property
    def length(self) -> int:
        """In bytes: a power of 2, and whole pages."""

    def load(self, offset: int, size: int) -> int:
        """A read of 1, 2, 4 or 8 bytes."""

    def store(self, offset: int, size: int, value: int) -> None:
        """A write. If it touches guest memory, it does so before it changes the device: see `PageAbsent`."""


class PciWindow:
    """An `MmioDevice` that a guest can move.

    The host bridge forwards what is below 4 GiB and not RAM. Memory that is moved elsewhere, or to where another device is, does
    not respond until it is moved again.
    """

    __slots__ = ("_bus", "_name", "_placed", "_registers", "gpa", "length")

    def __init__(self, name: str, bus: MmioBus, registers: PciRegisters) -> None:
        self._name: Final = name
        self._bus: Final = bus
        self._registers: Final = registers
        self._placed = False
        self.length: Final = registers.length
        self.gpa = Gpa(0)

    def place(self, base: int | None) -> None:
        if self._placed:
            self._bus.detach(self)
            self._placed = False
        if base is None or base not in MMIO_HOLE:
            return
        self.gpa = Gpa(base)
        try:
            self._bus.attach(self._name, self)
        except DeviceConflict as conflict:
            log.warning("PCI memory does not respond", reason=str(conflict))
        else:
            self._placed = True

    def load(self, vcpu: int, offset: int, size: int) -> int:
        return self._registers.load(offset, size)

    def store(self, vcpu: int, offset: int, size: int, value: int) -> None:
        self._registers.store(offset, size, value)
