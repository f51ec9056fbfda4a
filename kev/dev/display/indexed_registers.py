"""Registers of a VGA that lie behind a port for their index and one for their contents (IBM VGA technical reference)."""

from typing import ClassVar, Final, Self

from kev.dev.surroundings import Screen, Surroundings
from kev.state import Fields, State


class IndexedRegisters:
    """They read back what was written."""

    name: str
    INDEX: ClassVar[int]
    """The port of the index; that of the contents is behind it."""
    COUNT: ClassVar[int]
    FIELDS: ClassVar[Fields]

    __slots__ = ("_index", "_registers", "_screen")

    def __init__(self, screen: Screen) -> None:
        self._screen: Final = screen
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.screen)

    def reset(self) -> None:
        self._index = 0
        self._registers = bytearray(self.COUNT)
        self._look()

    def save(self) -> State:
        return self.FIELDS.save(self)

    def load(self, state: State) -> None:
        self.FIELDS.load(self, self.name, state)
        self._look()

    def _look(self) -> None:
        """Tells the screen what follows from the registers."""
        raise NotImplementedError

    def read_port(self, port: int, size: int) -> int:
        if port == self.INDEX:
            return self._index
        return self._registers[self._index] if self._index < self.COUNT else 0

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == self.INDEX:
            self._index = value
        elif self._index < self.COUNT:
            self._registers[self._index] = value
            self._look()
