"""A VGA's sequencer (IBM VGA technical reference): its registers, which tell how the memory of a picture is laid out."""

from typing import Final

from kev.dev.display.indexed_registers import IndexedRegisters
from kev.state import Fields, bits, octets

_INDEX: Final = 0x3C4
_REGISTERS: Final = 5
_MEMORY_MODE: Final = 4
_CHAIN_4: Final = 1 << 3


class Sequencer(IndexedRegisters):
    """Registers that read back what was written."""

    name: Final = "sequencer"
    ports: Final = (range(_INDEX, _INDEX + 2),)
    INDEX = _INDEX
    COUNT = _REGISTERS
    FIELDS = Fields({"_index": bits(8), "_registers": octets(_REGISTERS)})

    __slots__ = ()

    def _look(self) -> None:
        self._screen.is_chained = bool(self._registers[_MEMORY_MODE] & _CHAIN_4)
