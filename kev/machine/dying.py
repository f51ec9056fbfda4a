"""What `kev.postmortem` is told of a machine, and what a machine says by it: places, the death report, core files."""

import os
from typing import TYPE_CHECKING, Final

from kev.addressing import Gpa
from kev.exits import TripleFault
from kev.machine.ending import Ending
from kev.machine.vcpu import ActivityState, Vcpu
from kev.machine.vm import Vm
from kev.postmortem.at_end import ACTIVE, VcpuAtEnd, line_of, place_of
from kev.postmortem.places import Place, Places
from kev.postmortem.registers import VcpuRegisters

if TYPE_CHECKING:
    from kev.postmortem.death import Death


class PostMortem:
    """Looks at a machine that stands still. It changes nothing, and loads nothing."""

    def __init__(self, vm: Vm) -> None:
        self._vm: Final = vm
        self._places: Final = Places(vm.pager.image)
        self._memory_is_gone = False

    def forget_memory(self) -> None:
        """The machine is closed: only registers can still be looked at."""
        self._memory_is_gone = True

    def place(self, vcpu: Vcpu) -> Place:
        """Where a vCPU is in the kernel's code: at its next instruction, or at the HLT that it is in."""
        registers = VcpuRegisters.read(vcpu.state)
        halted = vcpu.activity is ActivityState.HLT
        if self._memory_is_gone:
            return self._places.executed(registers.linear_rip, halted=halted)
        return place_of(self._vm.pager, self._places, registers, halted=halted)

    def lines(self) -> list[str]:
        """Where every vCPU is: a line each."""
        return [line_of(self._at_end(vcpu), self.place(vcpu)) for vcpu in self._vm.vcpus]

    def death(self) -> "Death":
        """All there is to know about the vCPUs."""
        from kev.postmortem.death import describe_death

        vm = self._vm
        vcpus = [self._at_end(vcpu) for vcpu in vm.vcpus]
        return describe_death(vm.pager, self._places, vcpus, culprit=vm.culprit, device_at=self._device_at)

    def dump(self, file: str | os.PathLike[str], ending: Ending) -> None:
        """Writes an ELF core file (`kev.postmortem.core`). CoreError."""
        from kev.postmortem.core import CoreVcpu, write_core

        vm = self._vm
        vcpus = []
        for vcpu in vm.vcpus:
            at_end = self._at_end(vcpu)
            place = self.place(vcpu).text if at_end.started else ""
            vcpus.append(CoreVcpu(registers=at_end.registers, activity=at_end.activity, started=at_end.started, place=place))
        write_core(file, vm.pager, vcpus, ending=str(ending), culprit=vm.culprit)

    def _at_end(self, vcpu: Vcpu) -> VcpuAtEnd:
        return VcpuAtEnd(
            registers=VcpuRegisters.read(vcpu.state),
            activity=_activity(vcpu),
            started=vcpu.activity is not ActivityState.WAIT_FOR_SIPI,
            halted=vcpu.activity is ActivityState.HLT,
            triple_fault=vcpu.index == self._vm.culprit and bool(self._vm.exits[TripleFault]),
        )

    def _device_at(self, gpa: Gpa) -> str | None:
        device = self._vm.memory.device_at(gpa)
        return None if device is None else type(device).__name__


def _activity(vcpu: Vcpu) -> str:
    """What a vCPU is doing, in words."""
    if vcpu.activity is ActivityState.WAIT_FOR_SIPI:
        return "waits for a start-up IPI"
    if vcpu.activity is ActivityState.HLT:
        return f"halted with interrupts {'on' if vcpu.state.interrupts_enabled else 'off'}"
    if vcpu.activity is ActivityState.WAIT_FOR_MESSAGE:
        return "waits for a message"
    if vcpu.activity is ActivityState.SHUTDOWN:
        return "shut down"
    return ACTIVE if vcpu.needs is None else f"waits for the page at gpa {vcpu.needs:#x}"
