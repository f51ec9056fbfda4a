"""The registers of a vCPU, by the names of a target description.

The instruction pointer is shown as a linear address, the base of CS added: that is what a debugger compares with breakpoints, and
where it reads code, also in real mode. Where CS begins at 0, as in every flat mode, it is RIP itself.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from kev.engine.base import VcpuState
from kev.engine.registers import FpuState
from kev.gdb.errors import GdbError
from kev.gdb.target_description import Register
from kev.machine.vm import Vm
from kev.x86 import CR0_PE, MSR_KERNEL_GS_BASE

T = TypeVar("T")

_GENERAL: Final[Mapping[str, str]] = {
    **{f"e{name}": f"r{name}" for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")},
    **{name: name for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp")},
    **{f"r{number}": f"r{number}" for number in range(8, 16)},
    **{name: name for name in ("cr0", "cr2", "cr3", "cr4", "efer")},
    "eflags": "rflags",
}
"""Attributes of `VcpuState`."""
_PC: Final = ("rip", "eip")
_SEGMENTS: Final = ("cs", "ss", "ds", "es", "fs", "gs")
_BASES: Final = {"fs_base": "fs", "gs_base": "gs"}
_FPU: Final = {
    "fctrl": "fcw",
    "fstat": "fsw",
    "ftag": "ftw",
    "fiseg": "fcs",
    "fioff": "fip",
    "foseg": "fds",
    "fooff": "fdp",
    "fop": "fop",
    "mxcsr": "mxcsr",
}
"""Attributes of `FpuState`."""


def linear_rip(state: VcpuState) -> int:
    """The linear address of the next instruction."""
    base = state.cs.base
    return (base + state.rip) & 0xFFFFFFFF if base else state.rip


class Registers:
    """The registers of one vCPU."""

    __slots__ = ("_state", "_vm")

    def __init__(self, vm: Vm, vcpu: int) -> None:
        self._vm: Final = vm
        self._state: Final = vm.vcpus[vcpu].state

    def read(self, name: str) -> int:
        """The value of a register. KeyError if there is none of that name."""
        state = self._state
        if name in _GENERAL:
            value = getattr(state, _GENERAL[name])
            assert isinstance(value, int)
            return value
        if name in _PC:
            return linear_rip(state)
        if name in _SEGMENTS:
            return state.segment(name).selector
        if name in _BASES:
            return state.segment(_BASES[name]).base
        if name == "k_gs_base":
            return state.read_msr(MSR_KERNEL_GS_BASE)
        if name == "cr8":
            return self._vm.controllers.local_apics.read_cr8(state.index)
        return _read_fpu(state.read_fpu(), name)

    def write(self, name: str, value: int) -> None:
        """Changes a register. GdbError if it cannot be changed so; KeyError if there is none of that name."""
        state = self._state
        if name in _GENERAL:
            setattr(state, _GENERAL[name], value)
        elif name in _PC:
            state.rip = value - state.cs.base
        elif name in _SEGMENTS:
            self._write_selector(name, value)
        elif name in _BASES:
            state.set_segment(_BASES[name], state.segment(_BASES[name])._replace(base=value))
        elif name == "k_gs_base":
            state.write_msr(MSR_KERNEL_GS_BASE, value)
        elif name == "cr8":
            if self._vm.controllers.local_apics.write_cr8(state.index, value) is not None:
                raise GdbError(f"cr8 cannot be set to {value:#x}: it has 4 bits")
        else:
            state.write_fpu(_with_fpu(state.read_fpu(), name, value))

    def encoded(self, register: Register) -> bytes:
        """The value of a register as debuggers are sent it."""
        return encode(self.read(register.name), register.size)

    def _write_selector(self, name: str, selector: int) -> None:
        """In real mode, the base follows. In others it would have to come from a descriptor, which only an instruction loads."""
        segment = self._state.segment(name)
        if self._state.cr0 & CR0_PE:
            raise GdbError(f"{name} cannot be set to {selector:#x}: outside real mode only the guest loads segment registers")
        self._state.set_segment(name, segment._replace(selector=selector, base=selector << 4))


def encode(value: int, size: int) -> bytes:
    """The low `size` bytes of `value`, little-endian."""
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def _read_fpu(fpu: FpuState, name: str) -> int:
    if name in _FPU:
        value = getattr(fpu, _FPU[name])
        assert isinstance(value, int)
        return value
    if name.startswith("xmm"):
        return fpu.xmm[int(name[3:])]
    if name.startswith("st"):
        return int.from_bytes(fpu.st[int(name[2:])], "little")
    raise KeyError(name)


def _with_fpu(fpu: FpuState, name: str, value: int) -> FpuState:
    fields: dict[str, Any] = {field: getattr(fpu, field) for field in (*_FPU.values(), "st", "xmm")}
    if name in _FPU:
        fields[_FPU[name]] = value
    elif name.startswith("xmm"):
        fields["xmm"] = _replaced(fpu.xmm, int(name[3:]), value)
    elif name.startswith("st"):
        fields["st"] = _replaced(fpu.st, int(name[2:]), encode(value, 10))
    else:
        raise KeyError(name)
    return FpuState(**fields)


def _replaced(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    return (*values[:index], value, *values[index + 1 :])
