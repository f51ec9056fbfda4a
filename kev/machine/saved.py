"""A machine as plain data: all that decides its future, but for its memory.

What a machine is made of is not among it: a state is loaded into a machine that was built from the same description. Nor is what is
known of its past, such as how often it exited. Pages that were being loaded are loaded anew.
"""

from typing import Final

from kev.engine.base import EntryState, VcpuState
from kev.engine.registers import GENERAL, MSRS, SEGMENTS, DescriptorTable, FpuState, PendingEvents, SegmentRegister
from kev.exits import CrAccess, Exit, GuestException, InvalidOpcode, IoIn, IoOut, MmioRead, MmioWrite, Rdmsr, Rdtsc, Vmcall, Wrmsr
from kev.machine.vcpu import ActivityState
from kev.machine.vm import Vm
from kev.state import (
    FLAG,
    PART,
    Fields,
    Kind,
    Plain,
    State,
    bits,
    check_count,
    converted,
    listed,
    octets,
    one_of,
    optional,
    record,
    tuple_of,
    wide,
)

_U16: Final = bits(16)
_U32: Final = bits(32)
_U64: Final = bits(64)
_SEGMENT: Final = record(SegmentRegister, _U16, _U64, _U32, _U32)
_TABLE: Final = record(DescriptorTable, _U64, _U32)
_EXCEPTION: Final = record(GuestException, bits(8), optional(_U32), optional(_U64))
_EVENTS: Final = record(PendingEvents, optional(_EXCEPTION), bits(4), optional(_EXCEPTION), FLAG, FLAG, FLAG)
_FPU: Final = record(
    FpuState, *[_U16] * 5, _U64, _U16, _U64, tuple_of(converted(octets(10), bytes, bytes), 8), tuple_of(wide(16), 16), _U32
)
_ENTRY: Final = record(EntryState, _U64, _SEGMENT, _SEGMENT, *[_U64] * (len(EntryState._fields) - 3))

_REGISTERS: Final = Fields(
    dict.fromkeys(
        (
            *GENERAL,
            *("rip", "cr0", "cr2", "cr3", "cr4", "efer", "xcr0", "rflags", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7"),
            *("random_numbers", "instructions"),
        ),
        _U64,
    )
    | {"gdtr": _TABLE, "idtr": _TABLE},
    segments=listed(_SEGMENT, len(SEGMENTS)),
    msrs=listed(_U64, len(MSRS)),
    fpu=_FPU,
    events=_EVENTS,
)

_UNFINISHED: Final = {
    kind.__name__: kind for kind in (IoIn, IoOut, MmioRead, MmioWrite, Rdmsr, Wrmsr, Rdtsc, Vmcall, InvalidOpcode, CrAccess)
}
"""Exits that may have to wait for a page."""


def _save_exit(exit: Exit) -> Plain:
    return [type(exit).__name__, *(exit if isinstance(exit, tuple) else ())]


def _load_exit(saved: list[Plain]) -> Exit:
    name, *values = saved
    return _UNFINISHED[str(name)](*values)  # type: ignore[arg-type]


def _is_exit(saved: object) -> bool:
    if type(saved) is not list or not saved or type(saved[0]) is not str or saved[0] not in _UNFINISHED:
        return False
    fields = getattr(_UNFINISHED[saved[0]], "_fields", ())
    return len(saved) == 1 + len(fields) and all(value is None or _U64.accepts(value) for value in saved[1:])


_EXIT: Final = Kind("the name of an exit and its values, in a list", _is_exit, _save_exit, _load_exit)

_VCPU: Final = Fields(
    {"activity": one_of(ActivityState), "needs": optional(_U64), "unfinished": optional(_EXIT), "startup": optional(_ENTRY)},
    registers=PART,
)
_MACHINE: Final = Fields({}, clock=PART, timers=PART, console=PART, devices=PART, vcpus=listed(PART))


def save_vm(vm: Vm) -> State:
    """All that decides the future of a machine, but for its memory and its scheduler. It must be between two steps."""
    vm.console.flush()
    for vcpu in vm.vcpus:
        vm.interrupts.synchronize(vcpu)
    return _MACHINE.save(
        vm,
        clock=vm.clock.save(),
        timers=vm.timers.save(),
        console=vm.console.save(),
        devices=vm.devices.save(),
        vcpus=[_VCPU.save(vcpu, registers=save_registers(vcpu.state)) for vcpu in vm.vcpus],
    )


def load_vm(vm: Vm, state: State) -> None:
    """Makes `vm`, built from the same description, the machine that was saved, but for its memory, which must be loaded already.

    StateError if no machine of this description can be so; the machine cannot be used then.
    """
    parts = _MACHINE.load(vm, "machine", state)
    check_count("machine", "vcpus", parts["vcpus"], len(vm.vcpus))
    vm.clock.load(parts["clock"])
    vm.timers.load(parts["timers"])
    vm.console.load(parts["console"])
    vm.devices.load(parts["devices"])
    for vcpu, saved in zip(vm.vcpus, parts["vcpus"], strict=True):
        load_registers(vcpu.state, _VCPU.load(vcpu, f"vCPU {vcpu.index}", saved)["registers"])
        vm.interrupts.loaded(vcpu)


def save_registers(state: VcpuState) -> State:
    """What a vCPU holds."""
    return _REGISTERS.save(
        state,
        segments=[state.segment(name) for name in SEGMENTS],
        msrs=[state.read_msr(index) for index in MSRS],
        fpu=state.read_fpu(),
        events=state.read_events(),
    )


def load_registers(state: VcpuState, saved: State) -> None:
    """Makes a vCPU hold what was saved. StateError."""
    parts = _REGISTERS.load(state, f"vCPU {state.index}", saved)
    for name, segment in zip(SEGMENTS, parts["segments"], strict=True):
        state.set_segment(name, segment)
    for index, value in zip(MSRS, parts["msrs"], strict=True):
        state.write_msr(index, value)
    state.write_fpu(parts["fpu"])
    state.write_events(parts["events"])
