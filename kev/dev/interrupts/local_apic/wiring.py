"""What the local APICs are wired to: the processors on one side, the 8259 pair on the other."""

from typing import Protocol


class ProcessorSignals(Protocol):
    """What the interrupt controllers tell the machine: the pins of its processors, by vCPU number."""

    def interrupt_changed(self, vcpu: int) -> None:
        """`LocalApics.pending(vcpu)` is another one than before."""

    def nmi(self, vcpu: int) -> None: ...

    def init(self, vcpu: int) -> None:
        """INIT: the local APIC is reset already; the processor has to follow."""

    def startup(self, vcpu: int, vector: int) -> None:
        """A start-up IPI: a processor that waits for one starts in real mode at `vector` << 12; others ignore it."""


class ExternalInterrupts(Protocol):
    """The 8259 pair, as a processor sees it."""

    @property
    def pending(self) -> int | None:
        """The vector that an INTA cycle would return, or None while INT is low."""

    def acknowledge(self, vector: int) -> None:
        """The INTA cycle of `vector`, which the processor has taken."""
