"""Port I/O: IN, OUT, and iterations of INS and OUTS."""

from kev.dev.buses.ports import PortBus
from kev.engine.base import VcpuState
from kev.exits import IoIn, IoOut


class PortController:
    __slots__ = ("_ports",)

    def __init__(self, ports: PortBus) -> None:
        self._ports = ports

    def read(self, _vcpu: VcpuState, exit: IoIn) -> int:
        port, size, iterations = exit
        return self._ports.read(port, size) if iterations == 1 else self._ports.read_block(port, size * iterations)

    def write(self, _vcpu: VcpuState, exit: IoOut) -> int:
        port, size, value, iterations = exit
        if iterations == 1:
            self._ports.write(port, size, value)
        else:
            self._ports.write_block(port, size * iterations, value)
        return 0
