"""RDMSR and WRMSR of the registers that the CPU does not keep itself, and RDTSC."""

import attrs

from kev.clock import Clock
from kev.dev.msrs import MsrBus
from kev.exits import GuestException, Rdmsr, Rdtsc, Wrmsr
from kev.interrupts import Interrupts
from kev.vcpu import Vcpu


@attrs.frozen(slots=True)
class MsrController:
    msrs: MsrBus
    interrupts: Interrupts
    clock: Clock

    def read(self, vcpu: Vcpu, exit: Rdmsr) -> int | GuestException:
        self.interrupts.synchronize(vcpu)
        return self.msrs.read(vcpu.index, exit.index)

    def write(self, vcpu: Vcpu, exit: Wrmsr) -> int | GuestException:
        self.interrupts.synchronize(vcpu)
        return self.msrs.write(vcpu.index, exit.index, exit.value) or 0

    def read_time_stamp_counter(self, _vcpu: Vcpu, _exit: Rdtsc) -> int:
        """The counter runs at 1 GHz, so it counts the clock's nanoseconds."""
        return self.clock.now()
