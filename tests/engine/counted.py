"""Code that does what blocks of instructions are left early for, and everything that can be seen of it after each slice."""

import ctypes
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from kev.addressing import PAGE_SIZE, Gpa
from kev.engine.base import Budget
from kev.engine.registers import GENERAL, SEGMENTS
from kev.exits import (
    Cpuid,
    CpuidResult,
    EptViolation,
    Exit,
    IoIn,
    IoOut,
    MmioRead,
    MmioWrite,
    Pause,
    Rdtsc,
    Reply,
    TripleFault,
    Vmcall,
)
from tests.machine.cpu import RAM, STACK, Cpu
from tests.machine.modes import TEXT, Mode, cpu_in, handler

DEVICE: Final = 0xE0000
DATA: Final = 0x50000
_SYSTEM: Final = ("rip", "rflags", "cr0", "cr2", "cr3", "cr4", "efer", "dr6", "dr7", "gdtr", "idtr")
_INT3: Final = 0xCC
_INTERRUPT_VECTOR: Final = 0x40
_ON_PORT: Final = range(0x30, 0x38)


class State(NamedTuple):
    """After a slice."""

    exit: Exit
    instructions: int
    registers: tuple[object, ...]
    told: int
    """CRC-32 of every exit in the slice, each with how many instructions had been executed."""
    memory: int


class Observed:
    """A CPU whose machine answers out of what it has counted, and interrupts, ends and shortens slices where the guest asks."""

    def __init__(
        self, mode: Mode, text: bytes, targets: Sequence[int], counting: ctypes.CDLL | None, *, runs_out: bool = False
    ) -> None:
        """`targets` are offsets into `text` that the handlers of exceptions go on at. `runs_out`: slices are `Engine.run_out`'s."""
        self._told = 0
        self._runs_out = runs_out
        answers = {
            IoIn: self._count,
            IoOut: self._do_to_slice,
            MmioRead: self._count,
            MmioWrite: self._do_to_slice,
            Rdtsc: self._count,
            Cpuid: lambda exit: CpuidResult(self._count(exit), 2, 3, 4),
            Vmcall: self._count,
            Pause: self._count,
            EptViolation: self._map,
        }
        end = TEXT + len(text)
        # Zeros would be stores to their own block, behind which flags differ.
        rest = {
            start: bytes((_INT3,)) * (stop - start)
            for start, stop in ((0, 0xF00), (end, 0x10000), (0x18000, 0x20000), (0x21000, RAM))
        }
        handlers = {handler(vector): _go_on(mode, handler(vector), TEXT + targets[vector % len(targets)]) for vector in range(256)}
        self._cpu = cpu_in(mode, text, rest | handlers, answers=answers, counting=counting)
        self._cpu.table.map_device_page(DEVICE, self._cpu.engine.map_window(Gpa(DEVICE), PAGE_SIZE))

    def run(self, lengths: Iterable[int]) -> list[State]:
        """Slices of so many instructions, until the guest has died of something."""
        states: list[State] = []
        with self._cpu as cpu:
            for length in lengths:
                self._told = 0
                exit = cpu.run_out(length) if self._runs_out else cpu.run_slice(Budget(instructions=length))
                states.append(State(exit, cpu.vcpu.instructions, _registers(cpu), self._told, _memory(cpu)))
                if isinstance(exit, TripleFault) or (isinstance(exit, EptViolation) and exit.gpa >= RAM):
                    break
        return states

    def _count(self, exit: Exit) -> int:
        executed = self._cpu.engine.instructions_in_slice()
        self._told = crc32(f"{exit} {executed}".encode(), self._told)
        return executed & 0xFF

    def _do_to_slice(self, exit: Exit) -> Reply:
        assert isinstance(exit, IoOut | MmioWrite)
        self._count(exit)
        engine, vcpu, wish = self._cpu.engine, self._cpu.vcpu, exit.value & 7
        if wish == 1:
            engine.raise_interrupt(vcpu, _INTERRUPT_VECTOR)
        elif wish == 2:
            engine.raise_nmi(vcpu)
        elif wish == 3:
            engine.yield_soon()
        elif wish == 4:
            engine.shorten(Budget(instructions=exit.value >> 3 & 7))
        elif wish == 5:
            engine.raise_interrupt(vcpu, None)
        return 0

    def _map(self, exit: Exit) -> Reply | None:
        self._count(exit)
        return self._cpu.map_page(exit)


def _go_on(mode: Mode, at: int, target: int) -> bytes:
    """A handler that starts again with an empty stack."""
    if mode.real:
        return b"\xbc" + STACK.to_bytes(2, "little") + b"\xea" + target.to_bytes(2, "little") + bytes(2)
    return b"\xbc" + STACK.to_bytes(4, "little") + b"\xe9" + (target - at - 10 & 0xFFFF_FFFF).to_bytes(4, "little")


def _registers(cpu: Cpu) -> tuple[object, ...]:
    vcpu = cpu.vcpu
    return (
        *(getattr(vcpu, name) for name in (*GENERAL, *_SYSTEM)),
        *(vcpu.segment(name) for name in SEGMENTS),
        vcpu.read_fpu(),
        vcpu.read_events(),
        tuple(vcpu.history),
    )


def _memory(cpu: Cpu) -> int:
    checksum = 0
    for gpa in range(0, RAM, PAGE_SIZE):
        hpa = cpu.table.translate(gpa)
        if hpa is not None and hpa < cpu.memory.size:
            checksum = crc32(cpu.memory.page(hpa), crc32(gpa.to_bytes(4, "little"), checksum))
    return checksum
