"""A board for tests: the interrupt controllers and a processor side that notes what it is told."""

from kev.clock import TimerQueue, VirtualClock
from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.dev.interrupts.irq import InterruptControllers
from kev.exits import GuestException

LOCAL_APIC = 0xFEE0_0000
TASK_PRIORITY = 0x80
END_OF_INTERRUPT = 0xB0
LOGICAL_DESTINATION = 0xD0
DESTINATION_FORMAT = 0xE0
SPURIOUS = 0xF0
ERROR_STATUS = 0x280
COMMAND = 0x300
COMMAND_HIGH = 0x310
LVT_TIMER = 0x320
LVT_LINT0 = 0x350
LVT_ERROR = 0x370
INITIAL_COUNT = 0x380
CURRENT_COUNT = 0x390
DIVIDE = 0x3E0

IA32_APIC_BASE = 0x1B
IA32_TSC_DEADLINE = 0x6E0
ENABLE = 1 << 11
X2APIC = 1 << 10


def x2apic(offset: int) -> int:
    """The MSR of the register at an xAPIC offset."""
    return 0x800 + offset // 16


class Processors:
    """Notes every signal, as (what, vCPU, vector)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, int | None]] = []

    def interrupt_changed(self, vcpu: int) -> None:
        self.events.append(("interrupt", vcpu, None))

    def nmi(self, vcpu: int) -> None:
        self.events.append(("nmi", vcpu, None))

    def init(self, vcpu: int) -> None:
        self.events.append(("init", vcpu, None))

    def startup(self, vcpu: int, vector: int) -> None:
        self.events.append(("startup", vcpu, vector))

    def told(self, what: str) -> list[tuple[int, int | None]]:
        return [(vcpu, vector) for event, vcpu, vector in self.events if event == what]


class Board:
    def __init__(self, vcpus: int = 1, enabled: bool = True, *, in_x2apic_mode: bool = False) -> None:
        """`enabled`: every local APIC is software-enabled, spurious vector 255."""
        self.vcpus = vcpus
        self._in_x2apic_mode = in_x2apic_mode
        self.clock = VirtualClock()
        self.timers = TimerQueue(self.clock)
        self.counters = TimeStampCounters(vcpus, self.clock)
        self.processors = Processors()
        self.controllers = InterruptControllers(self.counters, self.clock, self.timers, self.processors)
        self.apics = self.controllers.local_apics
        self.io_apic = self.controllers.io_apic
        self.pic = self.controllers.pic
        for vcpu in range(vcpus if in_x2apic_mode else 0):
            self.wrmsr(IA32_APIC_BASE, LOCAL_APIC | ENABLE | X2APIC, vcpu)
        for vcpu in range(vcpus if enabled else 0):
            self.write(SPURIOUS, 0x1FF, vcpu)

    def advance(self, nanoseconds: int) -> None:
        """Lets time pass, with every timer on its own deadline."""
        end = self.clock.now() + nanoseconds
        while (deadline := self.timers.next_deadline()) is not None and deadline <= end:
            self.clock.advance_to(deadline)
            self.timers.run_due()
        self.clock.advance_to(end)

    def read(self, offset: int, vcpu: int = 0) -> int:
        """The register at an xAPIC offset, through the page or the MSR of the mode."""
        if self._in_x2apic_mode:
            value = self.rdmsr(x2apic(offset), vcpu)
            assert isinstance(value, int)
            return value
        return self.apics.read_mmio(vcpu, offset, 4)

    def write(self, offset: int, value: int, vcpu: int = 0) -> None:
        if self._in_x2apic_mode:
            assert self.wrmsr(x2apic(offset), value, vcpu) is None
        else:
            self.apics.write_mmio(vcpu, offset, 4, value)

    def send_to_itself(self, vector: int, vcpu: int = 0) -> None:
        """A fixed interrupt, by the shorthand "self"."""
        self.write(COMMAND, 1 << 18 | vector, vcpu)

    def rdmsr(self, index: int, vcpu: int = 0) -> int | GuestException:
        return self.apics.read_msr(vcpu, index)

    def wrmsr(self, index: int, value: int, vcpu: int = 0) -> GuestException | None:
        return self.apics.write_msr(vcpu, index, value)

    def take(self, vcpu: int = 0) -> int | None:
        """The processor takes what is pending."""
        vector = self.apics.pending(vcpu)
        if vector is not None:
            self.apics.acknowledge(vcpu, vector)
        return vector

    def end_of_interrupt(self, vcpu: int = 0) -> None:
        self.write(END_OF_INTERRUPT, 0, vcpu)

    def pending(self) -> list[int | None]:
        """Of every vCPU."""
        return [self.apics.pending(vcpu) for vcpu in range(self.vcpus)]

    def program_pic(self, master: int = 0x20, slave: int = 0x28, icw4: int = 0x01) -> None:
        for port, base, cascade in ((0x20, master, 4), (0xA0, slave, 2)):
            self.pic.write_port(port, 1, 0x11)
            for word in (base, cascade, icw4):
                self.pic.write_port(port + 1, 1, word)

    def redirect(self, gsi: int, low: int, high: int = 0) -> None:
        """Writes a redirection entry, low half last, as drivers do."""
        for register, value in ((0x11 + 2 * gsi, high), (0x10 + 2 * gsi, low)):
            self.io_apic.write_mmio(0, 0, 4, register)
            self.io_apic.write_mmio(0, 0x10, 4, value)

    def redirection(self, gsi: int) -> int:
        self.io_apic.write_mmio(0, 0, 4, 0x10 + 2 * gsi)
        return self.io_apic.read_mmio(0, 0x10, 4)
