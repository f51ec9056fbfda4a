"""Ports of PCI functions, on the machine's bus."""

from collections.abc import Sequence
from typing import Final, Protocol

from kev import log
from kev.dev.buses.claims import DeviceConflict
from kev.dev.buses.ports import PORTS, PortBus
from kev.state import FLAG, PART, Fields, State, StateError


class PciPortRegisters(Protocol):
    """What lies in the ports of a function."""

    @property
    def length(self) -> int:
        """How many: a power of 2."""

    def reset(self) -> None:
        """As `Device.reset`."""

    def save(self) -> State: ...

    def load(self, called: str, state: State) -> None:
        """They are `called` so in errors."""

    def read(self, offset: int, size: int) -> int:
        """IN of 1, 2 or 4 bytes."""

    def write(self, offset: int, size: int, value: int) -> None:
        """OUT. If it touches guest memory, it does so before it changes the device: see `PageAbsent`."""


class PciPorts:
    """Ports that a guest can move. They are part of a function, which resets, saves and loads them.

    Where another device is, they do not respond until they are moved again.
    """

    __slots__ = ("_base", "_bus", "_placed", "_registers", "_was_placed", "length", "name")

    _FIELDS: Final = Fields({"_placed": FLAG}, registers=PART)

    def __init__(self, name: str, bus: PortBus, registers: PciPortRegisters) -> None:
        self.name: Final = name
        self._bus: Final = bus
        self._registers: Final = registers
        self._placed = False
        self.length: Final = registers.length
        self._base = 0
        self._was_placed = False

    @property
    def ports(self) -> Sequence[range]:
        return (range(self._base, self._base + self.length),)

    @property
    def wide_ports(self) -> Sequence[range]:
        return self.ports

    def place(self, base: int | None) -> None:
        if self._placed and base == self._base:
            return
        if self._placed:
            self._bus.detach(self)
            self._placed = False
            self._base = 0
        if base is None or not 0 < base <= PORTS - self.length:
            return
        if self._was_placed:
            # The guest moves them: now it counts what is there, also if nobody has looked for it yet.
            while self._bus.find_more():
                pass
        self._base, self._was_placed = base, True
        try:
            self._bus.attach(self)
        except DeviceConflict as conflict:
            self._base = 0
            log.warning("PCI ports do not respond", reason=str(conflict))
        else:
            self._placed = True

    def read_port(self, port: int, size: int) -> int:
        return self._registers.read(port - self._base, size)

    def write_port(self, port: int, size: int, value: int) -> None:
        self._registers.write(port - self._base, size, value)

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
