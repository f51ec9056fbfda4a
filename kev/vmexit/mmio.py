"""Loads from and stores to pages that devices stand behind."""

from collections.abc import Callable

from kev.addressing import Gpa
from kev.dev.buses.mmio import MmioBus
from kev.exits import MmioRead, MmioWrite
from kev.machine.interrupts import Interrupts
from kev.machine.vcpu import Vcpu


class MmioController:
    __slots__ = ("_devices", "_interrupts", "_stored")

    def __init__(self, devices: MmioBus, interrupts: Interrupts, stored: Callable[[Gpa], None]) -> None:
        """`stored` is told of every store when it is done."""
        self._devices = devices
        self._interrupts = interrupts
        self._stored = stored

    def load(self, vcpu: Vcpu, exit: MmioRead) -> int:
        self._interrupts.synchronize(vcpu)
        return self._devices.load(vcpu.index, exit.gpa, exit.size)

    def store(self, vcpu: Vcpu, exit: MmioWrite) -> int:
        self._interrupts.synchronize(vcpu)
        self._devices.store(vcpu.index, exit.gpa, exit.size, exit.value)
        self._stored(exit.gpa)
        return 0
