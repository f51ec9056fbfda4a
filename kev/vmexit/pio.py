"""Port I/O: IN, OUT, and each iteration of INS and OUTS."""

import attrs

from kev.dev.ports import PortBus
from kev.exits import IoIn, IoOut
from kev.interrupts import Interrupts
from kev.vcpu import Vcpu


@attrs.frozen(slots=True)
class PortController:
    ports: PortBus
    interrupts: Interrupts

    def read(self, vcpu: Vcpu, exit: IoIn) -> int:
        self.interrupts.synchronize(vcpu)
        return self.ports.read(exit.port, exit.size)

    def write(self, vcpu: Vcpu, exit: IoOut) -> int:
        self.interrupts.synchronize(vcpu)
        self.ports.write(exit.port, exit.size, exit.value)
        return 0
