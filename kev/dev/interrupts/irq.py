"""The interrupt controllers of the machine and the wires between them (MultiProcessor Specification 1.4, "Interrupt modes").

ISA IRQ n is input n of the 8259 pair and input n of the I/O APIC, but for IRQ 0, the timer, which is the I/O APIC's input 2. The
8259 pair's INT goes to LINT0 of vCPU 0 and to the I/O APIC's input 0.
"""

from collections.abc import Mapping
from typing import Final

from kev.clock import Clock, TimerQueue
from kev.dev.base import InterruptLine
from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.dev.interrupts.io_apic import INPUTS, IoApic
from kev.dev.interrupts.local_apic import InterruptMessage, LocalApics, ProcessorSignals
from kev.dev.interrupts.pic8259 import Pic8259Pair
from kev.dev.surroundings import ReplacingLine

ISA_IRQS: Final = 16
CASCADE_IRQ: Final = 2
SOURCE_OVERRIDES: Final[Mapping[int, int]] = {0: 2}
"""The ISA IRQs whose I/O APIC input (ACPI: global system interrupt) has another number."""


class InterruptControllers:
    """All of them, and the interrupt lines for the devices."""

    __slots__ = ("_asserted", "_connected", "_lines", "counters", "io_apic", "local_apics", "pic")

    def __init__(self, counters: TimeStampCounters, clock: Clock, timers: TimerQueue, signals: ProcessorSignals) -> None:
        """There are as many local APICs as `counters`."""
        self.counters: Final = counters
        self.pic: Final = Pic8259Pair(self._pic_changed)
        self.io_apic: Final = IoApic(self._send)
        self.local_apics: Final = LocalApics(counters, clock, timers, signals, self.pic, self.io_apic.end_of_interrupt)
        self._lines = 0
        self._asserted = [0] * INPUTS
        """The lines that assert an IRQ, by IRQ, as bits."""
        self._connected = [-1] * INPUTS
        """Those that lead to it."""

    def line(self, irq: int) -> InterruptLine:
        """A new line to ISA IRQ `irq`, or from 16 on to the I/O APIC's input of this number. The lines of an IRQ are ORed."""
        if not 0 <= irq < INPUTS or irq == CASCADE_IRQ:
            raise ValueError(f"IRQ {irq}: there are 0 to {INPUTS - 1} without {CASCADE_IRQ}")
        return self._line(irq, self._new_bit())

    def replacing_line(self, irq: int) -> ReplacingLine:
        """A new line to ISA IRQ `irq` that is connected instead of all others, or not, as at first."""
        bit = self._new_bit()

        def switch(replaces: bool) -> None:
            before = self._asserted[irq] & self._connected[irq]
            self._connected[irq] = bit if replaces else ~bit
            self._changed(irq, before)

        switch(False)
        return ReplacingLine(self._line(irq, bit), switch)

    def _new_bit(self) -> int:
        self._lines += 1
        return 1 << self._lines - 1

    def _line(self, irq: int, bit: int) -> InterruptLine:
        def set_level(asserted: bool) -> None:
            before = self._asserted[irq]
            after = before | bit if asserted else before & ~bit
            if before != after:
                self._asserted[irq] = after
                self._changed(irq, before & self._connected[irq])

        return set_level

    def _changed(self, irq: int, before: int) -> None:
        """`before` are the connected lines that asserted the IRQ."""
        asserted = bool(self._asserted[irq] & self._connected[irq])
        if asserted != bool(before):
            if irq < ISA_IRQS:
                self.pic.set_line(irq, asserted)
            self.io_apic.set_line(SOURCE_OVERRIDES.get(irq, irq), asserted)

    def _pic_changed(self) -> None:
        self.local_apics.external_changed()
        self.io_apic.set_line(0, self.pic.pending is not None)

    def _send(self, message: InterruptMessage) -> bool:
        return self.local_apics.deliver(message)
