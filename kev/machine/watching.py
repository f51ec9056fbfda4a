"""Tells a timeline what happens in a machine."""

from typing import Final

from kev.addressing import Gpa
from kev.exits import EptViolation, Exit, Reply
from kev.machine.vcpu import Vcpu
from kev.machine.vm import Vm, VmObserver
from kev.observe.timeline import Timeline


def watch(vm: Vm, timeline: Timeline) -> None:
    """`timeline` is told of every violation, wait and load from now on."""
    vm.pager.observe(timeline)
    vm.observe(_Teller(timeline))


class _Teller(VmObserver):
    def __init__(self, timeline: Timeline) -> None:
        self._timeline: Final = timeline

    def exit_began(self, vcpu: Vcpu, exit: Exit) -> None:
        if isinstance(exit, EptViolation):
            self._timeline.violation_began(vcpu.index, _linear_rip(vcpu), exit.gpa, exit.access.value)

    def exit_ended(self, vcpu: Vcpu, exit: Exit, reply: Reply | None) -> None:
        if isinstance(exit, EptViolation):
            self._timeline.violation_ended(reply is not None)

    def suspended(self, vcpu: Vcpu, gpa: Gpa) -> None:
        self._timeline.suspended(vcpu.index, _linear_rip(vcpu), gpa)

    def resumed(self, vcpu: Vcpu) -> None:
        self._timeline.resumed(vcpu.index)


def _linear_rip(vcpu: Vcpu) -> int:
    return vcpu.state.cs.base + vcpu.state.rip
