"""CR8, the task priority of the local APIC."""

from typing import Protocol

from kev.exits import CrAccess, GuestException
from kev.machine.interrupts import Interrupts
from kev.machine.vcpu import Vcpu


class TaskPriorities(Protocol):
    """The local APICs, as CR8 sees them."""

    def read_cr8(self, vcpu: int) -> int: ...

    def write_cr8(self, vcpu: int, value: int) -> GuestException | None: ...


class Cr8Controller:
    __slots__ = ("_interrupts", "_priorities")

    def __init__(self, priorities: TaskPriorities, interrupts: Interrupts) -> None:
        self._priorities = priorities
        self._interrupts = interrupts

    def handle(self, vcpu: Vcpu, exit: CrAccess) -> int | GuestException:
        self._interrupts.synchronize(vcpu)
        if exit.value is None:
            return self._priorities.read_cr8(vcpu.index)
        return self._priorities.write_cr8(vcpu.index, exit.value) or 0
