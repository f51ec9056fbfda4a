"""Port I/O: IN, OUT, and iterations of INS and OUTS."""

from kev.dev.buses.ports import PortBus
from kev.engine.base import VcpuState
from kev.exits import IoIn, IoOut


class PortController:
    __slots__ = ("_ports",)

    def __init__(self, ports: PortBus) -> None:
        self._ports = ports

    def read(self, _vcpu: VcpuState, exit: IoIn) -> int:
        return self._ports.read(exit.port, exit.size)

    def write(self, _vcpu: VcpuState, exit: IoOut) -> int:
        self._ports.write(exit.port, exit.size, exit.value)
        return 0
