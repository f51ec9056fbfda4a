"""Port I/O: IN, OUT, and each iteration of INS and OUTS."""

from kev.dev.buses.ports import PortBus
from kev.exits import IoIn, IoOut
from kev.machine.interrupts import Interrupts
from kev.machine.vcpu import Vcpu


class PortController:
    __slots__ = ("_interrupts", "_ports")

    def __init__(self, ports: PortBus, interrupts: Interrupts) -> None:
        self._ports = ports
        self._interrupts = interrupts

    def read(self, vcpu: Vcpu, exit: IoIn) -> int:
        self._interrupts.synchronize(vcpu)
        return self._ports.read(exit.port, exit.size)

    def write(self, vcpu: Vcpu, exit: IoOut) -> int:
        self._interrupts.synchronize(vcpu)
        self._ports.write(exit.port, exit.size, exit.value)
        return 0
