"""All local APICs of a machine: the device that vCPUs access, and the bus that interrupt messages travel on."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from kev import log
from kev.addressing import PAGE_SIZE, Gpa
from kev.clock import Clock, TimerQueue
from kev.dev.base import DeviceError, MmioDevice
from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.dev.interrupts.local_apic.apic import (
    BASE_ADDRESS,
    BASE_BSP,
    BASE_ENABLE,
    BASE_X2APIC,
    LOWEST_VECTOR,
    PHYSICAL_ADDRESS_WIDTH,
    ApicError,
    LocalApic,
)
from kev.dev.interrupts.local_apic.message import DeliveryMode, InterruptMessage
from kev.dev.interrupts.local_apic.registers import (
    CURRENT_COUNT,
    END_OF_INTERRUPT,
    INTERRUPT_COMMAND,
    SELF_IPI,
    STEADY,
    X2APIC_REGISTERS,
    XAPIC_READERS,
    XAPIC_WRITERS,
    msr,
)
from kev.dev.interrupts.local_apic.timer import RunningCount
from kev.dev.interrupts.local_apic.wiring import ExternalInterrupts, ProcessorSignals
from kev.exits import GENERAL_PROTECTION, GuestException
from kev.state import FLAG, PART, Fields, State, StateError, check_count, listed
from kev.subscribers import Subscribers

IA32_APIC_BASE: Final = 0x1B
IA32_TSC_DEADLINE: Final = 0x6E0

_X2APIC_END_OF_INTERRUPT: Final = msr(END_OF_INTERRUPT)
_X2APIC_INTERRUPT_COMMAND: Final = msr(INTERRUPT_COMMAND)
_X2APIC_SELF_IPI: Final = msr(SELF_IPI)

_COMMAND_DEFINED: Final = 0xFFFF_FFFF_000C_DFFF
_COMMAND_DELIVERY_STATUS: Final = 1 << 12
_BASE_MODE: Final = BASE_BSP | BASE_X2APIC | BASE_ENABLE
_ALL_ONES: Final = 0xFFFF_FFFF_FFFF_FFFF


class AddressSpace(Protocol):
    """Where pages of registers are put: `kev.dev.buses.mmio.MmioBus`."""

    def attach(self, device: MmioDevice) -> None: ...

    def detach(self, device: MmioDevice) -> None: ...


class _MovedPage:
    """An `MmioDevice`: the page that a vCPU has moved its xAPIC to. Others find nothing there."""

    name: Final = "moved local APIC"
    length: Final = PAGE_SIZE

    __slots__ = ("_apics", "gpa")

    def __init__(self, apics: "LocalApics", gpa: Gpa) -> None:
        self._apics: Final = apics
        self.gpa: Final = gpa

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        return self._apics.read_page(self.gpa, vcpu, offset, size)

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        self._apics.write_page(self.gpa, vcpu, offset, size, value)


class LocalApics:
    """An `MsrDevice` (x2APIC, IA32_APIC_BASE, IA32_TSC_DEADLINE) and an `MmioDevice` (xAPIC at 0xfee00000).

    A vCPU may move its xAPIC's page to where no RAM is.

    The x2APIC's MSRs answer in x2APIC mode only, the xAPIC's page in xAPIC mode only.

    For the machine there are `pending`, which `ProcessorSignals.interrupt_changed` asks it to look at, and `acknowledge`, which it
    calls when the processor has taken the vector.
    """

    __slots__ = (
        "_absence_noted",
        "_apics",
        "_end_of_interrupt",
        "_external",
        "_external_asserted",
        "_moved",
        "_ram",
        "_space",
        "count_read",
        "steady_changed",
        "steady_read",
    )

    _FIELDS: Final = Fields({"_external_asserted": FLAG, "_absence_noted": FLAG}, apics=listed(PART))

    name: Final = "local APICs"
    msrs: Final[Sequence[range]] = (
        range(IA32_APIC_BASE, IA32_APIC_BASE + 1),
        range(IA32_TSC_DEADLINE, IA32_TSC_DEADLINE + 1),
        range(0x800, 0x900),
    )
    gpa: Final = Gpa(BASE_ADDRESS)
    length: Final = PAGE_SIZE

    def __init__(
        self,
        counters: TimeStampCounters,
        clock: Clock,
        timers: TimerQueue,
        signals: ProcessorSignals,
        external: ExternalInterrupts,
        end_of_interrupt: Callable[[int], None],
    ) -> None:
        """`end_of_interrupt` tells the I/O APIC that the service of a level-triggered vector has ended."""
        self._apics: Final = [LocalApic(vcpu, counters[vcpu], clock, timers, signals, external) for vcpu in range(len(counters))]
        self._external = external
        self._external_asserted = False
        self._end_of_interrupt = end_of_interrupt
        self._absence_noted = False
        self._space: AddressSpace | None = None
        self._ram: Sequence[range] = ()
        self._moved: Final[dict[int, _MovedPage]] = {}
        """The pages besides the usual one, by address."""
        self.steady_changed: Final[Subscribers[[int]]] = Subscribers()
        """Are told the vCPU of which nothing holds any more that `steady_read` was told."""
        self.steady_read: Final[Subscribers[[int, Gpa, int]]] = Subscribers()
        """Are told what a vCPU has found in an xAPIC register of 4 bytes, and finds there until `steady_changed`."""
        self.count_read: Final[Subscribers[[int, Gpa, RunningCount]]] = Subscribers()
        """Are told the same of the current count: what it is read from."""

    def connect(self, space: AddressSpace, ram: Sequence[range]) -> None:
        """Lets vCPUs move their pages in `space`, but not over `ram`."""
        self._space, self._ram = space, ram

    def reset(self) -> None:
        self._external_asserted = self._absence_noted = False
        for apic in self._apics:
            apic.switch_on()
            self.steady_changed(apic.id)
        self._follow_bases()

    def save(self) -> State:
        return self._FIELDS.save(self, apics=[apic.save() for apic in self._apics])

    def load(self, state: State) -> None:
        states = self._FIELDS.load(self, self.name, state)["apics"]
        check_count(self.name, "apics", states, len(self._apics))
        for apic, saved in zip(self._apics, states, strict=True):
            apic.load(f"local APIC {apic.id}", saved)
            self.steady_changed(apic.id)
            if not self._can_be_at(apic.address):
                raise StateError(f"local APIC {apic.id}", "base", apic.base, "where no RAM is")
        self._follow_bases()

    # The machine's side

    def is_enabled(self, vcpu: int) -> bool:
        """In IA32_APIC_BASE."""
        return bool(self._apics[vcpu].base & BASE_ENABLE)

    def pending(self, vcpu: int) -> int | None:
        """The vector that the processor should take as soon as it accepts interrupts, or None."""
        return self._apics[vcpu].pending

    def acknowledge(self, vcpu: int, vector: int) -> None:
        """The processor has taken `vector`, which was pending: it is in service now, and an 8259's INTA cycle has run."""
        self._apics[vcpu].acknowledge(vector)

    def external_changed(self) -> None:
        """The 8259 has raised or lowered INT, or offers another vector."""
        asserted = self._external.pending is not None
        if asserted and not self._external_asserted:
            self._apics[0].lint0_rose()
        self._external_asserted = asserted
        for apic in self._apics:
            apic.update()

    def read_cr8(self, vcpu: int) -> int:
        """CR8: the task priority's class, 0 to 15."""
        return self._apics[vcpu].tpr >> 4

    def write_cr8(self, vcpu: int, value: int) -> GuestException | None:
        if value > 0xF:
            return GENERAL_PROTECTION
        self._apics[vcpu].set_task_priority(value << 4)
        self.steady_changed(vcpu)
        return None

    # The bus

    def deliver(self, message: InterruptMessage) -> bool:
        """Hands a message to the local APICs it is for; says whether there was one that takes it."""
        return self._deliver(message, [apic for apic in self._apics if apic.is_destination(message)])

    def _deliver(self, message: InterruptMessage, destinations: Sequence[LocalApic]) -> bool:
        mode = message.mode
        if mode is DeliveryMode.FIXED or mode is DeliveryMode.LOWEST_PRIORITY:
            targets = [apic for apic in destinations if apic.enabled]
            if mode is DeliveryMode.LOWEST_PRIORITY and targets:
                targets = [min(targets, key=lambda apic: apic.processor_priority)]
            for apic in targets:
                apic.accept(message.vector, message.level_triggered)
        else:
            targets = [apic for apic in destinations if apic.base & BASE_ENABLE]
            for apic in targets:
                apic.signal(mode, message.vector)
                if mode is DeliveryMode.INIT:
                    self.steady_changed(apic.id)
        return bool(targets)

    def _send_command(self, sender: LocalApic, command: int, *, wide: bool) -> None:
        """A write to the ICR (SDM vol. 3, "Interrupt command register"). `wide`: the x2APIC's, with 32 bits of destination."""
        sender.interrupt_command = command
        mode = DeliveryMode(command >> 8 & 7)
        level_deassert = command & 0xC000 == 0x8000
        if mode is DeliveryMode.INIT and level_deassert:
            return
        vector = command & 0xFF
        if mode <= DeliveryMode.LOWEST_PRIORITY and vector < LOWEST_VECTOR:
            sender.report_error(ApicError.SEND_ILLEGAL_VECTOR)
            return
        destination = command >> (32 if wide else 56)
        message = InterruptMessage(mode, vector, destination, logical=bool(command & 0x800), wide=wide)
        shorthand = command >> 18 & 3
        if shorthand == 0:
            self.deliver(message)
            if mode in (DeliveryMode.INIT, DeliveryMode.STARTUP) and not message.logical and not message.is_broadcast:
                self._note_absence(destination)
        elif shorthand == 1:
            self._deliver(message, [sender])
        else:
            self._deliver(message, [apic for apic in self._apics if shorthand == 2 or apic is not sender])

    def _note_absence(self, apic_id: int) -> None:
        """Says once that the guest starts a processor that is not there."""
        vcpus = len(self._apics)
        if apic_id >= vcpus and not self._absence_noted:
            self._absence_noted = True
            log.warning("the guest starts a processor that is not there: --smp N makes more", apic_id=apic_id, vcpus=vcpus)

    def _write_end_of_interrupt(self, apic: LocalApic) -> None:
        vector = apic.end_of_interrupt()
        if vector is not None:
            self._end_of_interrupt(vector)

    # MsrDevice

    def read_msr(self, vcpu: int, index: int) -> int | GuestException:
        apic = self._apics[vcpu]
        if index == IA32_TSC_DEADLINE:
            return apic.timer.tsc_deadline
        if index == IA32_APIC_BASE:
            return apic.base
        register = X2APIC_REGISTERS.get(index)
        if register is None or not apic.base & BASE_X2APIC:
            return GENERAL_PROTECTION
        return register.read(apic)

    def write_msr(self, vcpu: int, index: int, value: int) -> GuestException | None:
        apic = self._apics[vcpu]
        if index == IA32_TSC_DEADLINE:
            apic.timer.tsc_deadline = value
            return None
        if index == IA32_APIC_BASE:
            refusal = self._write_base(apic, value)
            self.steady_changed(vcpu)
            return refusal
        if not apic.base & BASE_X2APIC:
            return GENERAL_PROTECTION
        return self._write_x2apic(apic, index, value)

    def _write_x2apic(self, apic: LocalApic, index: int, value: int) -> GuestException | None:
        if index == _X2APIC_END_OF_INTERRUPT:
            if value:
                return GENERAL_PROTECTION
            self._write_end_of_interrupt(apic)
        elif index == _X2APIC_INTERRUPT_COMMAND:
            if value & ~_COMMAND_DEFINED:
                return GENERAL_PROTECTION
            self._send_command(apic, value & ~_COMMAND_DELIVERY_STATUS, wide=True)
        elif index == _X2APIC_SELF_IPI:
            if value > 0xFF:
                return GENERAL_PROTECTION
            apic.send_to_itself(value)
        else:
            register = X2APIC_REGISTERS.get(index)
            if register is None or register.write is None or value & ~register.defined:
                return GENERAL_PROTECTION
            register.write(apic, value)
        return None

    def _write_base(self, apic: LocalApic, value: int) -> GuestException | None:
        address = value & ~(PAGE_SIZE - 1)
        if address >> PHYSICAL_ADDRESS_WIDTH or (value - address) & ~_BASE_MODE:
            return GENERAL_PROTECTION
        if not self._can_be_at(address):
            raise DeviceError(f"vCPU {apic.id} moves its local APIC to {address:#x}: it can only be where no RAM is")
        if not apic.set_base(value):
            return GENERAL_PROTECTION
        self._follow_bases()
        return None

    def _can_be_at(self, address: int) -> bool:
        return address == BASE_ADDRESS or (self._space is not None and not any(address in ram for ram in self._ram))

    def _follow_bases(self) -> None:
        """Puts pages where the APICs are, and takes those away where none is any more."""
        wanted = {apic.address for apic in self._apics} - {BASE_ADDRESS}
        if self._space is None or wanted == self._moved.keys():
            return
        for address in self._moved.keys() - wanted:
            self._space.detach(self._moved.pop(address))
        for address in sorted(wanted - self._moved.keys()):
            page = _MovedPage(self, Gpa(address))
            self._space.attach(page)
            self._moved[address] = page

    # MmioDevice

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        return self.read_page(BASE_ADDRESS, vcpu, offset, size)

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        self.write_page(BASE_ADDRESS, vcpu, offset, size, value)

    def read_page(self, page: int, vcpu: int, offset: int, size: int) -> int:
        """A read, all ones unless its xAPIC is there. Registers are 4 bytes at multiples of 16; bytes between them read as 0."""
        apic = self._apics[vcpu]
        if not apic.answers_at(page):
            return _ALL_ONES >> (64 - 8 * size)
        read = XAPIC_READERS.get(offset & ~0xF)
        if read is None:
            apic.report_error(ApicError.ILLEGAL_REGISTER)
            return 0
        value = read(apic) >> 8 * (offset & 0xF) & _ALL_ONES >> (64 - 8 * size)
        if size == 4 and offset in STEADY and page == BASE_ADDRESS:
            self.steady_read(vcpu, Gpa(page + offset), value)
        elif size == 4 and offset == CURRENT_COUNT and page == BASE_ADDRESS:
            self._tell_count(apic, Gpa(page + offset))
        return value

    def _tell_count(self, apic: LocalApic, gpa: Gpa) -> None:
        """It has been read. While it stands still, it is 0, until one of the registers is written that make it run."""
        count = apic.timer.running
        if count is None:
            self.steady_read(apic.id, gpa, 0)
        else:
            self.count_read(apic.id, gpa, count)

    def write_page(self, page: int, vcpu: int, offset: int, size: int, value: int) -> None:
        """A write. Those that do not write all 4 bytes of a register, which the manual leaves undefined, do nothing."""
        apic = self._apics[vcpu]
        if offset & 0xF or size < 4 or not apic.answers_at(page):
            return
        value &= 0xFFFF_FFFF
        if offset == END_OF_INTERRUPT:
            self._write_end_of_interrupt(apic)
            return
        if offset == INTERRUPT_COMMAND:
            high = apic.interrupt_command & ~0xFFFF_FFFF
            self._send_command(apic, high | value & _COMMAND_DEFINED & ~_COMMAND_DELIVERY_STATUS, wide=False)
        elif (write := XAPIC_WRITERS.get(offset)) is not None:
            write(apic, value)
        elif offset not in XAPIC_READERS:
            apic.report_error(ApicError.ILLEGAL_REGISTER)
        self.steady_changed(vcpu)
