"""RDMSR and WRMSR of the registers that the CPU does not keep itself, and RDTSC."""

from kev.dev.buses.msrs import MsrBus
from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.exits import GuestException, Rdmsr, Rdtsc, Wrmsr
from kev.machine.interrupts import Interrupts
from kev.machine.vcpu import Vcpu


class MsrController:
    __slots__ = ("_counters", "_interrupts", "_msrs")

    def __init__(self, msrs: MsrBus, interrupts: Interrupts, counters: TimeStampCounters) -> None:
        self._msrs = msrs
        self._interrupts = interrupts
        self._counters = counters

    def read(self, vcpu: Vcpu, exit: Rdmsr) -> int | GuestException:
        self._interrupts.synchronize(vcpu)
        return self._msrs.read(vcpu.index, exit.index)

    def write(self, vcpu: Vcpu, exit: Wrmsr) -> int | GuestException:
        self._interrupts.synchronize(vcpu)
        return self._msrs.write(vcpu.index, exit.index, exit.value) or 0

    def read_time_stamp_counter(self, vcpu: Vcpu, _exit: Rdtsc) -> int:
        return self._counters[vcpu.index].read()
