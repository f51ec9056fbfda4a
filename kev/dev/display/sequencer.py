"""A VGA's sequencer (IBM VGA technical reference): which planes are written, and how their memory is laid out."""

from typing import Final

from kev.dev.display.indexed_registers import IndexedRegisters
from kev.dev.display.screen import SEQUENCER_INDEX, SEQUENCER_MODE_3
from kev.state import Fields, bits, octets


class Sequencer(IndexedRegisters):
    name: Final = "sequencer"
    ports: Final = (range(SEQUENCER_INDEX, SEQUENCER_INDEX + 2),)
    INDEX = SEQUENCER_INDEX
    AT_FIRST = SEQUENCER_MODE_3
    ARRANGES = True
    FIELDS = Fields({"_index": bits(8), "_registers": octets(len(AT_FIRST))})

    __slots__ = ()

    def _look(self) -> None:
        self._screen.sequencer = self._registers
