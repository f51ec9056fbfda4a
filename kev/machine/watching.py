"""Tells a timeline, and what keeps the activity of vCPUs, what happens in a machine."""

from typing import Final

from kev.addressing import Gpa
from kev.exits import EptViolation, Exit, Hlt, Reply
from kev.machine.exit_text import describe_exit
from kev.machine.machine import Machine
from kev.machine.vcpu import Vcpu
from kev.machine.vm import Vm, VmObserver
from kev.observe.activity import Activity
from kev.observe.timeline import Timeline


def watch(vm: Vm, timeline: Timeline) -> None:
    """`timeline` is told of every violation, wait and load from now on."""
    vm.pager.observe(timeline)
    vm.observe(_Teller(timeline))


def watch_activity(machine: Machine, activity: Activity) -> None:
    """`activity` is told of every turn, halt, exit and output from now on."""
    machine.observe(_ActivityTeller(activity))
    machine.vm.console.output.subscribe(activity.printed)


class _ActivityTeller(VmObserver):
    def __init__(self, activity: Activity) -> None:
        self._activity: Final = activity

    def slice_began(self, vcpu: Vcpu) -> None:
        self._activity.turn_began(vcpu.index)

    def slice_ended(self, vcpu: Vcpu, exit: Exit) -> None:
        self._activity.turn_ended(vcpu.index, describe_exit(exit, vcpu.state.rax), halts=isinstance(exit, Hlt))

    def exit_began(self, vcpu: Vcpu, exit: Exit) -> None:
        if not isinstance(exit, EptViolation):
            self._activity.exit_began(vcpu.index, type(exit).__name__, describe_exit(exit, vcpu.state.rax))

    def exit_ended(self, vcpu: Vcpu, exit: Exit, reply: Reply | None) -> None:
        self._activity.exit_ended()


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
