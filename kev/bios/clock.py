"""INT 08h and INT 1Ah: ticks of the timer, and the real-time clock (IBM PC/AT technical reference, "Time of day")."""

from typing import Final

from kev.bios.call import BiosCall, Service
from kev.bios.data_area import Address, DataArea
from kev.dev.buses.ports import PortBus

_TICKS_OF_A_DAY: Final = 0x1800B0
_INDEX: Final = 0x70
_DATA: Final = 0x71
_SECONDS: Final = 0x00
_MINUTES: Final = 0x02
_HOURS: Final = 0x04
_DAY: Final = 0x07
_MONTH: Final = 0x08
_YEAR: Final = 0x09
_CENTURY: Final = 0x32


class ClockServices:
    """Ticks are counted in the BIOS data area, from the start of the machine."""

    def __init__(self, data: DataArea, ports: PortBus) -> None:
        self._data: Final = data
        self._ports: Final = ports
        self.functions: Final[dict[int, Service]] = {
            0x00: self._read_ticks,
            0x01: self._set_ticks,
            0x02: self._read_time,
            0x03: self._set_time,
            0x04: self._read_date,
            0x05: self._set_date,
        }
        """By AH, of INT 1Ah."""

    def tick(self) -> None:
        """INT 08h: the timer interrupts."""
        ticks = self._data.read(Address.TICKS, 4) + 1
        if ticks >= _TICKS_OF_A_DAY:
            ticks = 0
            self._data.write(Address.DAY_PASSED, 1)
        self._data.write(Address.TICKS, ticks, 4)

    def _read_ticks(self, call: BiosCall) -> None:
        ticks, passed = self._data.read(Address.TICKS, 4), self._data.read(Address.DAY_PASSED)
        self._data.write(Address.DAY_PASSED, 0)
        call.al, call.cx, call.dx = passed, ticks >> 16, ticks

    def _set_ticks(self, call: BiosCall) -> None:
        self._data.write(Address.TICKS, call.cx << 16 | call.dx, 4)
        self._data.write(Address.DAY_PASSED, 0)

    def _read_time(self, call: BiosCall) -> None:
        call.ch, call.cl, call.dh, call.dl = self._cmos(_HOURS), self._cmos(_MINUTES), self._cmos(_SECONDS), 0
        call.set_carry(False)

    def _set_time(self, call: BiosCall) -> None:
        self._write_cmos({_HOURS: call.ch, _MINUTES: call.cl, _SECONDS: call.dh})
        call.set_carry(False)

    def _read_date(self, call: BiosCall) -> None:
        call.ch, call.cl, call.dh, call.dl = (self._cmos(index) for index in (_CENTURY, _YEAR, _MONTH, _DAY))
        call.set_carry(False)

    def _set_date(self, call: BiosCall) -> None:
        self._write_cmos({_CENTURY: call.ch, _YEAR: call.cl, _MONTH: call.dh, _DAY: call.dl})
        call.set_carry(False)

    def _cmos(self, index: int) -> int:
        """In BCD, as the clock counts."""
        self._ports.write(_INDEX, 1, index)
        return self._ports.read(_DATA, 1)

    def _write_cmos(self, values: dict[int, int]) -> None:
        for index, value in values.items():
            self._ports.write(_INDEX, 1, index)
            self._ports.write(_DATA, 1, value)
