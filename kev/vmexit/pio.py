"""Port I/O: IN, OUT, and iterations of INS and OUTS."""

from typing import Final

from kev.dev.buses.ports import PortBus
from kev.engine.base import VcpuState
from kev.exits import IoIn, IoOut


class PortController:
    __slots__ = ("_read", "_read_block", "_write", "_write_block")

    def __init__(self, ports: PortBus) -> None:
        self._read: Final = ports.read
        self._write: Final = ports.write
        self._read_block: Final = ports.read_block
        self._write_block: Final = ports.write_block

    def read(self, _vcpu: VcpuState, exit: IoIn) -> int:
        port, size, iterations = exit
        return self._read(port, size) if iterations == 1 else self._read_block(port, size * iterations)

    def write(self, _vcpu: VcpuState, exit: IoOut) -> int:
        port, size, value, iterations = exit
        if iterations == 1:
            self._write(port, size, value)
        else:
            self._write_block(port, size * iterations, value)
        return 0
