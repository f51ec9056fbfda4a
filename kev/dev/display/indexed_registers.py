"""Registers of a VGA that lie behind a port for their index and one for their contents (IBM VGA technical reference)."""

from typing import ClassVar

from kev.dev.display.screen_device import ScreenDevice


class IndexedRegisters(ScreenDevice):
    """They read back what was written."""

    INDEX: ClassVar[int]
    """The port of the index; that of the contents is behind it."""
    COUNT: ClassVar[int]

    __slots__ = ("_index", "_registers")

    def reset(self) -> None:
        self._index = 0
        self._registers = bytearray(self.COUNT)
        self._look()

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
