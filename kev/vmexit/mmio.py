"""Loads from and stores to pages that devices stand behind."""

from collections.abc import Callable

import attrs

from kev.addressing import Gpa
from kev.dev.mmio import MmioBus
from kev.exits import MmioRead, MmioWrite
from kev.interrupts import Interrupts
from kev.vcpu import Vcpu


@attrs.frozen(slots=True)
class MmioController:
    devices: MmioBus
    interrupts: Interrupts
    stored: Callable[[Gpa], None]
    """Told of every store when it is done."""

    def load(self, vcpu: Vcpu, exit: MmioRead) -> int:
        self.interrupts.synchronize(vcpu)
        return self.devices.load(vcpu.index, exit.gpa, exit.size)

    def store(self, vcpu: Vcpu, exit: MmioWrite) -> int:
        self.interrupts.synchronize(vcpu)
        self.devices.store(vcpu.index, exit.gpa, exit.size, exit.value)
        self.stored(exit.gpa)
        return 0
