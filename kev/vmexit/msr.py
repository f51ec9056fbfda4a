"""RDMSR and WRMSR of the registers that the CPU does not keep itself, and RDTSC."""

from kev.dev.buses.msrs import MsrBus
from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.engine.base import VcpuState
from kev.exits import GuestException, Rdmsr, Rdtsc, Wrmsr


class MsrController:
    __slots__ = ("_counters", "_msrs")

    def __init__(self, msrs: MsrBus, counters: TimeStampCounters) -> None:
        self._msrs = msrs
        self._counters = counters

    def read(self, vcpu: VcpuState, exit: Rdmsr) -> int | GuestException:
        return self._msrs.read(vcpu.index, exit.index)

    def write(self, vcpu: VcpuState, exit: Wrmsr) -> int | GuestException:
        return self._msrs.write(vcpu.index, exit.index, exit.value) or 0

    def read_time_stamp_counter(self, vcpu: VcpuState, _exit: Rdtsc) -> int:
        return self._counters[vcpu.index].read()
