"""Which vCPUs spin: those whose steps, such as those from one PAUSE to the next, have led to the state in which they began."""

from typing import Final

from kev.exits import Hlt, Pause, PreemptionTimer
from kev.machine.digest import Registers, all_registers, general_registers, memory_checksum
from kev.machine.vcpu import Vcpu
from kev.machine.vm import Vm
from kev.race.guest.store_buffers import StoreBuffers

LONGEST_LOOP: Final = 64
"""Steps of a loop without PAUSE that is taken for one."""
_NOTHING_DONE: Final = frozenset({Hlt, Pause, PreemptionTimer})
"""Exits that change nothing but the vCPU's own state."""


def exits_with_effect(vm: Vm) -> tuple[int, ...]:
    """How often a machine has taken each kind of exit that does more than give up the CPU."""
    return tuple(count for kind, count in vm.exits.items() if kind not in _NOTHING_DONE)


class Spinning:
    """Compares the state before and after each vCPU's steps between two PAUSEs, while no other vCPU takes any.

    The state is the vCPU's registers and memory; if the vCPU has asked anything of a device or a clock, it is not the same.
    """

    def __init__(self, vm: Vm, buffers: StoreBuffers | None = None) -> None:
        self._vm: Final = vm
        self._buffers: Final = buffers
        self._behind_pause: Final[set[int]] = set()
        """vCPUs whose last step was PAUSE."""
        self._at_device: Final[set[int]] = set()
        """vCPUs that asked something of a device between their last two PAUSEs: it is not worth while to look at memory."""
        self._before: tuple[object, ...] | None = None
        """The state in which the steps that are being taken began, if that was behind a PAUSE."""
        self._exits_before: tuple[int, ...] | None = None
        """The same for how many exits there were."""
        self._registers: Registers = ()

    def begins(self, vcpu: Vcpu, *, switched: bool) -> None:
        """`vcpu` takes the next step. `switched`: another one took the last."""
        behind = vcpu.index in self._behind_pause
        if behind:
            self._behind_pause.discard(vcpu.index)
            self._exits_before = exits_with_effect(self._vm)
            self._before = None if vcpu.index in self._at_device else self._state(vcpu)
        elif switched:
            self._before = self._exits_before = None

    def suspect(self, vcpu: Vcpu) -> None:
        """`vcpu` may be in a loop without PAUSE: it is compared with its state now."""
        self._registers = general_registers(vcpu)
        self._exits_before = exits_with_effect(self._vm)
        self._before = self._state(vcpu)

    def is_as_before(self, vcpu: Vcpu) -> bool:
        return (
            general_registers(vcpu) == self._registers
            and exits_with_effect(self._vm) == self._exits_before
            and self._state(vcpu) == self._before
        )

    def paused(self, vcpu: Vcpu) -> bool:
        """`vcpu` has executed PAUSE. Says whether it spins."""
        self._behind_pause.add(vcpu.index)
        if self._exits_before is not None and exits_with_effect(self._vm) != self._exits_before:
            self._at_device.add(vcpu.index)
            return False
        self._at_device.discard(vcpu.index)
        return self._before is not None and self._state(vcpu) == self._before

    def _state(self, vcpu: Vcpu) -> tuple[object, ...]:
        vm = self._vm
        stored = () if self._buffers is None else tuple(map(self._buffers.of, range(len(vm.vcpus))))
        return (all_registers(vcpu), *vm.interrupts.offered, memory_checksum(vm), *stored)
