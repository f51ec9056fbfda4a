"""Hypercalls by real guests: machine code on the engine alone, in any mode, and small kernels on whole machines."""

import struct
from collections.abc import Sequence
from typing import Final

import attrs

import kev
from kev.abi.base import GuestAbi, Services
from kev.addressing import Gpa
from kev.clock import VirtualClock
from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.dev.interrupts.local_apic.message import InterruptMessage
from kev.engine.base import VcpuState
from kev.exits import Exit, Reply, Vmcall
from kev.machine.run_report import RunReport
from tests.boot.images import MIB, multiboot1_header, source
from tests.machine.code import VMCALL, code
from tests.machine.cpu import RAM, Cpu
from tests.machine.modes import Mode, cpu_in

KVM_ENOSYS: Final = -1000
_REGISTERS: Final = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi")
_ADDRESSES_IN_HEADER: Final = 1 << 16


def load(**registers: int) -> bytes:
    """MOV of 32 bits to each register."""
    return b"".join(struct.pack("<BI", 0xB8 + _REGISTERS.index(name), value & 0xFFFF_FFFF) for name, value in registers.items())


@attrs.define
class Called:
    """What hypercalls have done to the vCPU and to its surroundings."""

    vcpu: VcpuState | None = None
    rip_moved: int | None = None
    """By how much, until the end."""
    ended: list[int] = attrs.field(factory=list)
    printed: bytes = b""
    messages: list[InterruptMessage] = attrs.field(factory=list)
    memory: bytes = b""
    """All of it."""


def call(
    abi: type[GuestAbi], mode: Mode, text: bytes, vcpus: int = 4, deaf: Sequence[int] = (), contents: dict[int, bytes] | None = None
) -> Called:
    """Runs code up to the second VMCALL, the first of which is behind `text`. The processors in `deaf` take no interrupts."""
    called = Called()
    cpu = cpu_in(mode, text + VMCALL + code("90 90") + VMCALL, contents)
    guest = abi(_services(called, cpu, vcpus, deaf))

    def answer(exit: Exit) -> Reply | None:
        assert isinstance(exit, Vmcall)
        if called.rip_moved is None:
            called.rip_moved = cpu.vcpu.rip
            return guest.hypercall(cpu.vcpu, exit)
        return None

    cpu.answers[Vmcall] = answer
    with cpu:
        assert cpu.run() == Vmcall()
        assert called.rip_moved is not None
        called.rip_moved = cpu.vcpu.rip - called.rip_moved
        called.vcpu = cpu.vcpu
        called.memory = b"".join(bytes(cpu.page(page)) for page in range(0, 0x10000, 0x1000))
    return called


def _services(called: Called, cpu: Cpu, vcpus: int, deaf: Sequence[int]) -> Services:
    def send(message: InterruptMessage) -> bool:
        called.messages.append(message)
        return message.destination not in deaf

    def write(text: bytes) -> None:
        called.printed += text

    clock = VirtualClock()
    memory = _Memory(cpu)
    return Services(
        end=called.ended.append,
        write=write,
        memory=memory,
        read_virtual=lambda _state, gva, length: memory.read(Gpa(gva), length),
        ram=(range(RAM),),
        clock=clock,
        counters=TimeStampCounters(vcpus, clock),
        boot_time=0,
        send_interrupt=send,
    )


class _Memory:
    """Guest memory of the engine's tests, in which virtual addresses are physical ones."""

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu

    def read(self, gpa: Gpa, length: int) -> bytes:
        return bytes(self._cpu.read(address, 1) for address in range(gpa, gpa + length))

    def write(self, gpa: Gpa, data: bytes) -> None:
        offset = gpa & 0xFFF
        self._cpu.page(gpa)[offset : offset + len(data)] = data


def kernel(text: bytes, data: bytes = b"") -> bytes:
    """A Multiboot 1 kernel of 32-bit code, with `data` at DATA."""
    header = multiboot1_header(_ADDRESSES_IN_HEADER, [MIB, MIB, 0, 0, MIB + 32])
    return (header + text).ljust(DATA - MIB, b"\xf4") + data


DATA: Final = MIB + 0x800
SHOW_RAX: Final = code("b9 04 00 00 00 e6 e9 c1 e8 08 e2 f9 ; mov ecx, 4; 1: out 0xe9, al; shr eax, 8; loop 1b")
"""Prints EAX, as 4 bytes."""
POWER_OFF: Final = code("66 ba 04 06 b8 00 20 00 00 ef f4 ; mov dx, 0x604; mov eax, 0x2000; out dx, eax; hlt")


def launch(abi: str | None, text: bytes, data: bytes = b"", *, memory: int = 16 << 20, vcpus: int = 1) -> RunReport:
    """Runs a kernel on a machine."""
    return kev.launch(source(kernel(text, data)), abi=abi, memory=memory, vcpus=vcpus, timeout=30)


def result(abi: str | None, data: bytes = b"", **registers: int) -> tuple[int, bytes]:
    """What a hypercall of a kernel returns in EAX, and what it prints."""
    report = launch(abi, load(**registers) + VMCALL + SHOW_RAX + POWER_OFF, data)
    assert report.exit_code == 0, report.ending.message
    assert report.output is not None
    eax = struct.unpack("<i", report.output[-4:])[0]
    return eax, report.output[:-4]
