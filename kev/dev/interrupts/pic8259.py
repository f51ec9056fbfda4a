"""The 8259A interrupt controllers of a PC: a master and a slave on its IR2 (Intel 8259A datasheet; ELCR: PIIX datasheet)."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

import attrs

_SPURIOUS: Final = 7
"""What a chip answers to an INTA cycle when nothing is requested."""
_CASCADE: Final = 2
"""The master's input that the slave is on."""
_LEVELS: Final = 8

_ICW1: Final = 0x10
_ICW1_ICW4_FOLLOWS: Final = 0x01
_ICW1_SINGLE: Final = 0x02
_ICW4_AUTO_EOI: Final = 0x02
_ICW4_SPECIAL_FULLY_NESTED: Final = 0x10
_OCW3: Final = 0x08
_POLL_REQUESTED: Final = 0x80
_MASTER_ELCR_WRITABLE: Final = 0xF8
"""Timer, keyboard and cascade are always edge-triggered."""
_SLAVE_ELCR_WRITABLE: Final = 0xDE
"""So are the real-time clock and the coprocessor's error."""


class _Expected(Enum):
    """What the next write to a chip's odd port is."""

    ICW2 = 2
    ICW3 = 3
    ICW4 = 4
    OCW1 = 1


@attrs.define(eq=False, repr=False, slots=True)
class Pic8259:
    """One 8259A. Interrupt levels are 0 to 7; sets of them are bits of an int."""

    vector_base: int
    cascade: int = 0
    """The inputs with another 8259A behind them: they follow its INT."""
    elcr: int = 0
    """The level-triggered inputs. The others latch a rising edge until it is served."""
    _imr: int = 0
    _isr: int = 0
    _edges: int = 0
    _lines: int = 0
    _lowest: int = 7
    """The level of lowest priority; the next one has the highest."""
    _auto_eoi: bool = False
    _rotate_in_auto_eoi: bool = False
    _special_mask: bool = False
    _special_fully_nested: bool = False
    _read_isr: bool = False
    _polled: bool = False
    _expected: _Expected = _Expected.OCW1
    _single: bool = False
    _icw4_follows: bool = False

    @property
    def irr(self) -> int:
        """The interrupt request register."""
        return self._edges | self._lines & (self.elcr | self.cascade)

    def set_line(self, level: int, asserted: bool) -> None:
        bit = 1 << level
        if not asserted:
            self._lines &= ~bit
        elif not self._lines & bit:
            self._lines |= bit
            if not (self.elcr | self.cascade) & bit:
                self._edges |= bit

    def request(self) -> int | None:
        """The level that raises INT, or None while INT is low."""
        requested = self.irr & ~self._imr
        if not requested or self._expected is not _Expected.OCW1:
            return None
        rank = self._highest_rank(requested)
        in_service = self._isr & ~self._imr if self._special_mask else self._isr
        if in_service:
            barrier = self._highest_rank(in_service)
            slave_again = self._special_fully_nested and rank == barrier and self.cascade & 1 << self._level(rank)
            if rank >= barrier and not slave_again:
                return None
        return self._level(rank)

    def acknowledge(self, level: int) -> None:
        """The INTA cycle of a level that was requested."""
        bit = 1 << level
        self._edges &= ~bit
        if not self._auto_eoi:
            self._isr |= bit
        elif self._rotate_in_auto_eoi:
            self._lowest = level

    def write_even(self, value: int) -> None:
        if value & _ICW1:
            self._initialize(value)
        elif value & _OCW3:
            self._write_ocw3(value)
        else:
            self._write_ocw2(value)

    def write_odd(self, value: int) -> None:
        if self._expected is _Expected.OCW1:
            self._imr = value
        elif self._expected is _Expected.ICW2:
            self.vector_base = value & 0xF8
            self._expected = self._after_icw3() if self._single else _Expected.ICW3
        elif self._expected is _Expected.ICW3:
            self._expected = self._after_icw3()
        else:
            self._auto_eoi = bool(value & _ICW4_AUTO_EOI)
            self._special_fully_nested = bool(value & _ICW4_SPECIAL_FULLY_NESTED)
            self._expected = _Expected.OCW1

    def read_even(self) -> int:
        if self._polled:
            return self._poll()
        return self._isr if self._read_isr else self.irr

    def read_odd(self) -> int:
        return self._poll() if self._polled else self._imr

    def _poll(self) -> int:
        self._polled = False
        level = self.request()
        if level is None:
            return 0
        self.acknowledge(level)
        return _POLL_REQUESTED | level

    def _initialize(self, icw1: int) -> None:
        self._imr = self._isr = self._edges = 0
        self._lowest = 7
        self._auto_eoi = self._rotate_in_auto_eoi = self._special_mask = self._special_fully_nested = False
        self._read_isr = self._polled = False
        self._single = bool(icw1 & _ICW1_SINGLE)
        self._icw4_follows = bool(icw1 & _ICW1_ICW4_FOLLOWS)
        self._expected = _Expected.ICW2

    def _after_icw3(self) -> _Expected:
        return _Expected.ICW4 if self._icw4_follows else _Expected.OCW1

    def _write_ocw2(self, value: int) -> None:
        rotate, specific, end_of_interrupt = value & 0x80, value & 0x40, value & 0x20
        if end_of_interrupt:
            level = value & 7 if specific else self._highest_in_service()
            if level is None:
                return
            self._isr &= ~(1 << level)
            if rotate:
                self._lowest = level
        elif specific:
            if rotate:
                self._lowest = value & 7
        else:
            self._rotate_in_auto_eoi = bool(rotate)

    def _write_ocw3(self, value: int) -> None:
        if value & 0x40:
            self._special_mask = bool(value & 0x20)
        if value & 0x04:
            self._polled = True
        elif value & 0x02:
            self._read_isr = bool(value & 0x01)

    def _highest_in_service(self) -> int | None:
        """What a non-specific EOI ends: special mask mode spares the masked levels."""
        in_service = self._isr & ~self._imr if self._special_mask else self._isr
        return self._level(self._highest_rank(in_service)) if in_service else None

    def _highest_rank(self, levels: int) -> int:
        """The priority of the most urgent of `levels`: 0 is the highest."""
        first = self._lowest + 1
        rotated = (levels | levels << _LEVELS) >> first
        return (rotated & -rotated).bit_length() - 1

    def _level(self, rank: int) -> int:
        return (self._lowest + 1 + rank) % _LEVELS


class Pic8259Pair:
    """A `PortDevice`: master at 0x20, slave at 0xa0, ELCRs at 0x4d0. IRQs 0 to 7 are the master's inputs, 8 to 15 the slave's.

    It starts as the firmware of a PC initialises it: IRQ 0 at vector 8, IRQ 8 at 0x70. Nothing is masked, because no device asserts
    its line before the guest has programmed it.
    """

    __slots__ = ("_changed", "_master", "_slave", "pending")

    ports: Final[Sequence[range]] = (range(0x20, 0x22), range(0xA0, 0xA2), range(0x4D0, 0x4D2))

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called whenever `pending` has changed."""
        self._master: Final = Pic8259(vector_base=0x08, cascade=1 << _CASCADE)
        self._slave: Final = Pic8259(vector_base=0x70)
        self._changed = changed
        self.pending: int | None = None
        """The vector that an INTA cycle would return, or None while INT is low."""

    def set_line(self, irq: int, asserted: bool) -> None:
        """Sets the level of an input, 0 to 15 but for 2."""
        if irq < _LEVELS:
            self._master.set_line(irq, asserted)
        else:
            self._slave.set_line(irq - _LEVELS, asserted)
        self._update()

    def set_level_triggered(self, irq: int) -> None:
        """What firmware does with the ELCR for an input that PCI interrupts go to, 8 to 15 but for 8 and 13."""
        self._slave.elcr |= 1 << irq - _LEVELS & _SLAVE_ELCR_WRITABLE

    def acknowledge(self, vector: int) -> None:
        """The INTA cycle: the processor has taken `vector`.

        Level 7 of a chip without a request is a spurious interrupt: it is not in service, though a spurious IRQ 15 leaves the
        master's IR2 so. Vectors that are no chip's are ignored: the guest has moved them meanwhile.
        """
        level = vector % _LEVELS
        base = vector - level
        if base == self._slave.vector_base:
            if level != _SPURIOUS or self._slave.irr & 1 << _SPURIOUS:
                self._slave.acknowledge(level)
            self._master.acknowledge(_CASCADE)
        elif base == self._master.vector_base and (level != _SPURIOUS or self._master.irr & 1 << _SPURIOUS):
            self._master.acknowledge(level)
        self._set_pending(None)  # INT is low during the cycle: what rises after it is a new edge
        self._update()

    def read_port(self, port: int, size: int) -> int:
        if port == 0x4D0:
            return self._master.elcr
        if port == 0x4D1:
            return self._slave.elcr
        chip = self._chip(port)
        value = chip.read_odd() if port & 1 else chip.read_even()
        self._update()
        return value

    def write_port(self, port: int, size: int, value: int) -> None:
        value &= 0xFF
        if port == 0x4D0:
            self._master.elcr = value & _MASTER_ELCR_WRITABLE
        elif port == 0x4D1:
            self._slave.elcr = value & _SLAVE_ELCR_WRITABLE
        elif port & 1:
            self._chip(port).write_odd(value)
        else:
            self._chip(port).write_even(value)
        self._update()

    def _chip(self, port: int) -> Pic8259:
        return self._slave if port & 0x80 else self._master

    def _update(self) -> None:
        slave = self._slave.request()
        self._master.set_line(_CASCADE, slave is not None)
        master = self._master.request()
        if master is None:
            pending = None
        elif master == _CASCADE and slave is not None:
            pending = self._slave.vector_base + slave
        else:
            pending = self._master.vector_base + master
        self._set_pending(pending)

    def _set_pending(self, vector: int | None) -> None:
        if vector != self.pending:
            self.pending = vector
            self._changed()
