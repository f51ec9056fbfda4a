"""The 8259A interrupt controllers of a PC: a master and a slave on its IR2 (Intel 8259A datasheet; ELCR: PIIX datasheet)."""

from collections.abc import Callable, Sequence
from typing import Final

from kev.state import FLAG, PART, Fields, State, bits, integers, listed

_SPURIOUS: Final = 7
"""What a chip answers to an INTA cycle when nothing is requested."""
_CASCADE: Final = 2
"""The master's input that the slave is on."""
_LEVELS: Final = 8
_MASTER_VECTORS: Final = 0x08
_SLAVE_VECTORS: Final = 0x70

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


class _Expected:
    """What the next write to a chip's odd port is."""

    OCW1: Final = 1
    ICW2: Final = 2
    ICW3: Final = 3
    ICW4: Final = 4


class Pic8259:
    """One 8259A. Interrupt levels are 0 to 7; sets of them are bits of an int."""

    __slots__ = (
        "_auto_eoi",
        "_edges",
        "_expected",
        "_icw4_follows",
        "_imr",
        "_isr",
        "_lines",
        "_lowest",
        "_polled",
        "_read_isr",
        "_rotate_in_auto_eoi",
        "_single",
        "_special_fully_nested",
        "_special_mask",
        "cascade",
        "elcr",
        "vector_base",
    )

    _FIELDS: Final = Fields(
        {
            "vector_base": bits(8),
            "elcr": bits(_LEVELS),
            "_imr": bits(_LEVELS),
            "_isr": bits(_LEVELS),
            "_edges": bits(_LEVELS),
            "_lines": bits(_LEVELS),
            "_lowest": integers(0, _LEVELS - 1),
            "_auto_eoi": FLAG,
            "_rotate_in_auto_eoi": FLAG,
            "_special_mask": FLAG,
            "_special_fully_nested": FLAG,
            "_read_isr": FLAG,
            "_polled": FLAG,
            "_expected": integers(_Expected.OCW1, _Expected.ICW4),
            "_single": FLAG,
            "_icw4_follows": FLAG,
        }
    )

    def __init__(self, cascade: int = 0) -> None:
        """`cascade`: the inputs with another 8259A behind them, which follow its INT."""
        self.cascade: Final = cascade
        self.reset(vector_base=0)

    def reset(self, vector_base: int, elcr: int = 0) -> None:
        """As firmware has initialised it; all inputs are low."""
        self.vector_base = vector_base
        self.elcr = elcr
        """The level-triggered inputs. The others latch a rising edge until it is served."""
        self._imr = self._isr = self._edges = self._lines = 0
        self._lowest = 7
        """The level of lowest priority; the next one has the highest."""
        self._auto_eoi = self._rotate_in_auto_eoi = self._special_mask = self._special_fully_nested = False
        self._read_isr = self._polled = False
        self._expected = _Expected.OCW1
        self._single = self._icw4_follows = False

    def save(self) -> State:
        return self._FIELDS.save(self)

    def load(self, called: str, state: State) -> None:
        self._FIELDS.load(self, called, state)

    @property
    def irr(self) -> int:
        """The interrupt request register."""
        return self._edges | self._lines & (self.elcr | self.cascade)

    def set_line(self, level: int, asserted: bool) -> bool:
        """Says whether that can change INT: a masked input cannot."""
        bit = 1 << level
        if not asserted:
            self._lines &= ~bit
        elif not self._lines & bit:
            self._lines |= bit
            if not (self.elcr | self.cascade) & bit:
                self._edges |= bit
        return not self._imr & bit

    def request(self) -> int | None:
        """The level that raises INT, or None while INT is low."""
        requested = (self._edges | self._lines & (self.elcr | self.cascade)) & ~self._imr
        if not requested or self._expected != _Expected.OCW1:
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
        if self._expected == _Expected.OCW1:
            self._imr = value
        elif self._expected == _Expected.ICW2:
            self.vector_base = value & 0xF8
            self._expected = self._after_icw3() if self._single else _Expected.ICW3
        elif self._expected == _Expected.ICW3:
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

    def _after_icw3(self) -> int:
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

    __slots__ = ("_changed", "_level_triggered", "_master", "_slave", "pending")

    _FIELDS: Final = Fields({}, chips=listed(PART, 2))

    name: Final = "8259 interrupt controllers"
    ports: Final[Sequence[range]] = (range(0x20, 0x22), range(0xA0, 0xA2), range(0x4D0, 0x4D2))

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called whenever `pending` has changed."""
        self._master: Final = Pic8259(cascade=1 << _CASCADE)
        self._slave: Final = Pic8259()
        self._changed = changed
        self._level_triggered = 0
        """The slave's inputs that PCI interrupts go to."""
        self.pending: int | None = None
        """The vector that an INTA cycle would return, or None while INT is low."""
        self.reset()

    def reset(self) -> None:
        self._master.reset(_MASTER_VECTORS)
        self._slave.reset(_SLAVE_VECTORS, self._level_triggered)
        self._update()

    def save(self) -> State:
        return self._FIELDS.save(self, chips=[self._master.save(), self._slave.save()])

    def load(self, state: State) -> None:
        """Nobody is told that `pending` has changed: who cares for it is loaded afterwards."""
        master, slave = self._FIELDS.load(self, self.name, state)["chips"]
        self._master.load(f"{self.name}, master", master)
        self._slave.load(f"{self.name}, slave", slave)
        self.pending = self._find_pending()

    def set_line(self, irq: int, asserted: bool) -> None:
        """Sets the level of an input, 0 to 15 but for 2."""
        chip = self._master if irq < _LEVELS else self._slave
        if chip.set_line(irq % _LEVELS, asserted):
            self._update()

    def set_level_triggered(self, irq: int) -> None:
        """What firmware does with the ELCR for an input that PCI interrupts go to, 8 to 15 but for 8 and 13."""
        self._level_triggered |= 1 << irq - _LEVELS & _SLAVE_ELCR_WRITABLE
        self._slave.elcr |= self._level_triggered

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
        self._set_pending(self._find_pending())

    def _find_pending(self) -> int | None:
        slave = self._slave.request()
        self._master.set_line(_CASCADE, slave is not None)
        master = self._master.request()
        if master is None:
            return None
        if master == _CASCADE and slave is not None:
            return self._slave.vector_base + slave
        return self._master.vector_base + master

    def _set_pending(self, vector: int | None) -> None:
        if vector != self.pending:
            self.pending = vector
            self._changed()
