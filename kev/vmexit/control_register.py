"""CR8, the task priority of the local APIC."""

from typing import Protocol

import attrs

from kev.exits import CrAccess, GuestException
from kev.interrupts import Interrupts
from kev.vcpu import Vcpu


class TaskPriorities(Protocol):
    """The local APICs, as CR8 sees them."""

    def read_cr8(self, vcpu: int) -> int: ...

    def write_cr8(self, vcpu: int, value: int) -> GuestException | None: ...


@attrs.frozen(slots=True)
class Cr8Controller:
    priorities: TaskPriorities
    interrupts: Interrupts

    def handle(self, vcpu: Vcpu, exit: CrAccess) -> int | GuestException:
        self.interrupts.synchronize(vcpu)
        if exit.value is None:
            return self.priorities.read_cr8(vcpu.index)
        return self.priorities.write_cr8(vcpu.index, exit.value) or 0
