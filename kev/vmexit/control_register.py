"""CR8, the task priority of the local APIC."""

from typing import Final, Protocol

from kev.engine.base import VcpuState
from kev.exits import CrAccess, GuestException


class TaskPriorities(Protocol):
    """The local APICs, as CR8 sees them."""

    def read_cr8(self, vcpu: int) -> int: ...

    def write_cr8(self, vcpu: int, value: int) -> GuestException | None: ...


class Cr8Controller:
    __slots__ = ("_priorities",)

    def __init__(self, priorities: TaskPriorities) -> None:
        self._priorities: Final = priorities

    def handle(self, vcpu: VcpuState, exit: CrAccess) -> int | GuestException:
        if exit.value is None:
            return self._priorities.read_cr8(vcpu.index)
        return self._priorities.write_cr8(vcpu.index, exit.value) or 0
