"""RDMSR and WRMSR of the registers that the CPU does not keep itself, and RDTSC."""

from kev.dev.msrs import MsrBus
from kev.dev.processor import ProcessorMsrs
from kev.exits import GuestException, Rdmsr, Rdtsc, Wrmsr
from kev.interrupts import Interrupts
from kev.vcpu import Vcpu


class MsrController:
    __slots__ = ("_interrupts", "_msrs", "_processors")

    def __init__(self, msrs: MsrBus, interrupts: Interrupts, processors: ProcessorMsrs) -> None:
        self._msrs = msrs
        self._interrupts = interrupts
        self._processors = processors

    def read(self, vcpu: Vcpu, exit: Rdmsr) -> int | GuestException:
        self._interrupts.synchronize(vcpu)
        return self._msrs.read(vcpu.index, exit.index)

    def write(self, vcpu: Vcpu, exit: Wrmsr) -> int | GuestException:
        self._interrupts.synchronize(vcpu)
        return self._msrs.write(vcpu.index, exit.index, exit.value) or 0

    def read_time_stamp_counter(self, vcpu: Vcpu, _exit: Rdtsc) -> int:
        return self._processors.read_time_stamp_counter(vcpu.index)
