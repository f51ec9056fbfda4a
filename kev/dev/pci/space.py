"""What the base address registers of PCI functions are about: memory or ports, which a guest can move."""

from abc import ABC, abstractmethod
from typing import ClassVar, Final, Protocol

from kev import log
from kev.dev.buses.claims import DeviceConflict
from kev.state import FLAG, PART, Fields, State, StateError


class PciRegisters(Protocol):
    """What lies in the memory or in the ports of a function."""

    @property
    def length(self) -> int:
        """In bytes: a power of 2, and in memory whole pages."""

    def reset(self) -> None:
        """As `Device.reset`."""

    def save(self) -> State: ...

    def load(self, called: str, state: State) -> None:
        """They are `called` so in errors."""

    def read(self, offset: int, size: int) -> int:
        """A read of 1, 2 or 4 bytes, in memory also of 8."""

    def write(self, offset: int, size: int, value: int) -> None:
        """A write. If it touches guest memory, it does so before it changes the device: see `PageAbsent`."""


class PciSpace(ABC):
    """A part of a function, which resets, saves and loads it, at an address that the guest can change.

    Where it cannot be, or where another device is, it does not respond until it is moved again.
    """

    __slots__ = ("_base", "_placed", "_registers", "length", "name")

    _FIELDS: Final = Fields({"_placed": FLAG}, registers=PART)
    _SILENCE: ClassVar[str]
    """What is logged where another device is."""

    def __init__(self, name: str, registers: PciRegisters) -> None:
        self.name: Final = name
        self._registers: Final = registers
        self._placed = False
        self.length: Final = registers.length
        self._base = 0

    def place(self, base: int | None) -> None:
        """Is at `base` from now on, or nowhere, since the function does not respond."""
        if self._placed and base == self._base:
            return
        if self._placed:
            self._detach()
            self._placed = False
            self._base = 0
        if base is None or not self._can_be_at(base):
            return
        self._base = base
        try:
            self._attach()
        except DeviceConflict as conflict:
            self._base = 0
            log.warning(self._SILENCE, reason=str(conflict))
        else:
            self._placed = True

    @abstractmethod
    def _can_be_at(self, base: int) -> bool: ...

    @abstractmethod
    def _attach(self) -> None:
        """Takes its place on the bus. DeviceConflict."""

    @abstractmethod
    def _detach(self) -> None: ...

    def reset(self) -> None:
        self._registers.reset()

    def save(self) -> State:
        return self._FIELDS.save(self, registers=self._registers.save())

    def load(self, base: int | None, state: State) -> None:
        """Is at `base`, as `place` says, or was moved to where it does not respond."""
        self.place(None)
        registers = self._FIELDS.load(self, self.name, state)["registers"]
        if self._placed:
            self._placed = False
            self.place(base)
            if not self._placed:
                raise StateError(self.name, "placed", True, f"False: it cannot respond at {base}")
        self._registers.load(self.name, registers)
