"""Memory space of PCI functions, on the machine's bus."""

from typing import Final, Protocol

from kev import log
from kev.addressing import Gpa
from kev.dev.buses.claims import DeviceConflict
from kev.dev.buses.mmio import MmioBus
from kev.pager.ram import MMIO_HOLE
from kev.state import FLAG, PART, Fields, State, StateError


class PciRegisters(Protocol):
    """What lies in the memory space of a function."""

    @property
    def length(self) -> int:
        """In bytes: a power of 2, and whole pages."""

    def reset(self) -> None:
        """As `Device.reset`."""

    def save(self) -> State: ...

    def load(self, called: str, state: State) -> None:
        """They are `called` so in errors."""

    def read(self, offset: int, size: int) -> int:
        """A read of 1, 2, 4 or 8 bytes."""

    def write(self, offset: int, size: int, value: int) -> None:
        """A write. If it touches guest memory, it does so before it changes the device: see `PageAbsent`."""


class PciWindow:
    """Pages that a guest can move. They are part of a function, which resets, saves and loads them.

    The host bridge forwards what is below 4 GiB and not RAM. Memory that is moved elsewhere, or to where another device is, does
    not respond until it is moved again.
    """

    __slots__ = ("_bus", "_placed", "_registers", "gpa", "length", "name")

    _FIELDS: Final = Fields({"_placed": FLAG}, registers=PART)

    def __init__(self, name: str, bus: MmioBus, registers: PciRegisters) -> None:
        self.name: Final = name
        self._bus: Final = bus
        self._registers: Final = registers
        self._placed = False
        self.length: Final = registers.length
        self.gpa = Gpa(0)

    def place(self, base: int | None) -> None:
        if self._placed:
            self._bus.detach(self)
            self._placed = False
            self.gpa = Gpa(0)
        if base is None or base not in MMIO_HOLE:
            return
        self.gpa = Gpa(base)
        try:
            self._bus.attach(self)
        except DeviceConflict as conflict:
            self.gpa = Gpa(0)
            log.warning("PCI memory does not respond", reason=str(conflict))
        else:
            self._placed = True

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        return self._registers.read(offset, size)

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        self._registers.write(offset, size, value)

    def reset(self) -> None:
        self._registers.reset()

    def save(self) -> State:
        return self._FIELDS.save(self, registers=self._registers.save())

    def load(self, base: int | None, state: State) -> None:
        self.place(None)
        registers = self._FIELDS.load(self, self.name, state)["registers"]
        if self._placed:
            self._placed = False
            self.place(base)
            if not self._placed:
                raise StateError(self.name, "placed", True, f"False: it cannot respond at {base}")
        self._registers.load(self.name, registers)
