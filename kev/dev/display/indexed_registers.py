"""Registers of a VGA that lie behind a port for their index and one for their contents (IBM VGA technical reference)."""

from typing import ClassVar

from kev.dev.base import PageAbsent
from kev.dev.display.screen_device import ScreenDevice


class IndexedRegisters(ScreenDevice):
    """They read back what was written."""

    INDEX: ClassVar[int]
    """The port of the index; that of the contents is behind it."""
    AT_FIRST: ClassVar[bytes]
    """What a BIOS has left in them."""
    ARRANGES: ClassVar[bool] = False
    """They say where a guest finds the memory."""

    __slots__ = ("_index", "_registers")

    def reset(self) -> None:
        self._index = 0
        self._registers = bytearray(self.AT_FIRST)
        self._look()

    def read_port(self, port: int, size: int) -> int:
        if port == self.INDEX:
            return self._index
        return self._registers[self._index] if self._index < len(self.AT_FIRST) else 0

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == self.INDEX:
            self._index = value
        elif self._index < len(self.AT_FIRST):
            before = self._registers[self._index]
            self._registers[self._index] = value
            if self.ARRANGES:
                try:
                    self._screen.arrange()
                except PageAbsent:
                    self._registers[self._index] = before  # the access is repeated
                    raise
