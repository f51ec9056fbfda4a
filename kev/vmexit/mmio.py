"""Loads from and stores to pages that devices stand behind."""

from collections.abc import Callable

from kev.addressing import Gpa
from kev.dev.buses.mmio import MmioBus
from kev.engine.base import VcpuState
from kev.exits import MmioRead, MmioWrite


class MmioController:
    __slots__ = ("_devices", "_stored")

    def __init__(self, devices: MmioBus, stored: Callable[[Gpa], None]) -> None:
        """`stored` is told of every store when it is done."""
        self._devices = devices
        self._stored = stored

    def load(self, vcpu: VcpuState, exit: MmioRead) -> int:
        return self._devices.load(vcpu.index, exit.gpa, exit.size)

    def store(self, vcpu: VcpuState, exit: MmioWrite) -> int:
        self._devices.store(vcpu.index, exit.gpa, exit.size, exit.value)
        self._stored(exit.gpa)
        return 0
