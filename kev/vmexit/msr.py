"""RDMSR and WRMSR of the registers that the CPU does not keep itself, and RDTSC."""

import attrs

from kev.dev.msrs import MsrBus
from kev.dev.processor import ProcessorMsrs
from kev.exits import GuestException, Rdmsr, Rdtsc, Wrmsr
from kev.interrupts import Interrupts
from kev.vcpu import Vcpu


@attrs.frozen(slots=True)
class MsrController:
    msrs: MsrBus
    interrupts: Interrupts
    processors: ProcessorMsrs

    def read(self, vcpu: Vcpu, exit: Rdmsr) -> int | GuestException:
        self.interrupts.synchronize(vcpu)
        return self.msrs.read(vcpu.index, exit.index)

    def write(self, vcpu: Vcpu, exit: Wrmsr) -> int | GuestException:
        self.interrupts.synchronize(vcpu)
        return self.msrs.write(vcpu.index, exit.index, exit.value) or 0

    def read_time_stamp_counter(self, vcpu: Vcpu, _exit: Rdtsc) -> int:
        return self.processors.read_time_stamp_counter(vcpu.index)
