"""A machine between two steps, as it is kept while its process lives: all that decides its future, but for its memory.

The same as `kev.machine.saved` has as plain data, but for a machine of this process that was built alike: quicker, and with what is
known of its past.
"""

from typing import Any, NamedTuple

from kev.addressing import Gpa
from kev.engine.base import EntryState
from kev.exits import Exit
from kev.machine.vcpu import ActivityState
from kev.machine.vm import Figures, Vm
from kev.state import State


class VcpuMoment(NamedTuple):
    registers: object
    """As the engine keeps them."""
    activity: ActivityState
    needs: Gpa | None
    unfinished: Exit | None
    startup: EntryState | None


class Moment(NamedTuple):
    """See the fields of `kev.machine.vm.Vm`."""

    clock: State
    timers: State
    console: State
    output_left: int | None
    """See `kev.machine.console.Console.left`."""
    devices: dict[str, State]
    windows: frozenset[int]
    vcpus: tuple[VcpuMoment, ...]
    figures: Figures


def moment_of(vm: Vm) -> Moment:
    """What `vm` is now."""
    vm.console.flush()
    engine: Any = vm.engine
    for vcpu in vm.vcpus:
        vm.interrupts.synchronize(vcpu)
    return Moment(
        vm.clock.save(),
        vm.timers.save(),
        vm.console.save(),
        vm.console.left,
        vm.devices.save(),
        vm.windows.mapped,
        tuple(
            VcpuMoment(engine.save_vcpu(vcpu.state), vcpu.activity, vcpu.needs, vcpu.unfinished, vcpu.startup) for vcpu in vm.vcpus
        ),
        vm.figures(),
    )


def load_moment(vm: Vm, moment: Moment) -> None:
    """Makes `vm` what it was, or what another was that was built alike. Its memory must be loaded already."""
    vm.windows.load(moment.windows)
    vm.engine.forget_mappings()
    vm.clock.load(moment.clock)
    vm.timers.load(moment.timers)
    vm.console.load(moment.console)
    vm.console.limit(moment.output_left)
    vm.devices.load(moment.devices)
    for vcpu, saved in zip(vm.vcpus, moment.vcpus, strict=True):
        vm.engine.load_vcpu(vcpu.state, saved.registers)
        _, vcpu.activity, vcpu.needs, vcpu.unfinished, vcpu.startup = saved
        vm.interrupts.loaded(vcpu)
    vm.go_on_from(moment.figures)
