"""SYSCALL, SYSRET, SYSENTER and SYSEXIT (AMD64 APM vol. 3; Intel SDM vol. 2 for SYSENTER in 64-bit mode)."""

import struct

import pytest

from kev.exits import Vmcall, Wrmsr
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import (
    COMPATIBILITY_USER,
    LONG,
    LONG_USER,
    PROTECTED,
    PROTECTED_USER,
    REAL,
    TEXT,
    USER_CODE_32,
    USER_CODE_64,
    USER_DATA,
    USER_STACK,
    Mode,
    cpu_in,
    delivery,
    handler,
)

STAR, LSTAR, CSTAR, FMASK = 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084
SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP = 0x174, 0x175, 0x176
KERNEL = 0x7000
ENTRY, ENTRY_32 = KERNEL + 0x100, KERNEL + 0x200
KERNEL_CS, USER_BASE = 0x18, 0x20
SYSCALL, SYSENTER, SYSEXIT = code("0f 05"), code("0f 34"), code("0f 35")
SYSRETQ, SYSRETL = code("48 0f 07"), code("0f 07")
SLICES = pytest.mark.parametrize("slice_length", [None, 1])
TF, IF, DF, AC, RF, IOPL_3 = 1 << 8, 1 << 9, 1 << 10, 1 << 18, 1 << 16, 3 << 12


def wrmsr(msr: int, value: int) -> bytes:
    """MOV ECX, msr; MOV EAX, low; MOV EDX, high; WRMSR."""
    return struct.pack("<BIBIBI", 0xB9, msr, 0xB8, value & 0xFFFF_FFFF, 0xBA, value >> 32) + code("0f 30")


def after_setup(mode: Mode, text: bytes, kernel: bytes, *, rflags: int = 2, mask: int = TF | IF | DF) -> Cpu:
    """A CPU that sets the registers of system calls up at CPL 0, and runs `text` at TEXT + 0x100 at CPL 3."""
    selectors = KERNEL_CS << 32 | (USER_BASE | 3) << 48
    registers = {
        STAR: selectors | ENTRY_32, LSTAR: ENTRY, CSTAR: ENTRY_32, FMASK: mask,
        SYSENTER_CS: KERNEL_CS if mode.long else 0x08, SYSENTER_ESP: 0x9000, SYSENTER_EIP: ENTRY,
    }  # fmt: skip
    setup = b"".join(wrmsr(msr, value) for msr, value in registers.items() if mode.long or msr not in (LSTAR, CSTAR, FMASK))
    user = USER_CODE_32 if mode in (COMPATIBILITY_USER, PROTECTED_USER) else USER_CODE_64
    leave = b"".join(b"\x68" + struct.pack("<I", value) for value in (USER_DATA, USER_STACK, rflags, user, TEXT + 0x100))
    setup += leave + code("48 cf ; iretq" if mode.long else "cf ; iret")
    return cpu_in(LONG if mode.long else PROTECTED, setup, {TEXT + 0x100: text, ENTRY: kernel, ENTRY_32: kernel})


@SLICES
def test_syscall_enters_the_kernel(slice_length: int | None) -> None:
    with after_setup(LONG_USER, code("90") + SYSCALL, VMCALL, rflags=0xAD7) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        vcpu = cpu.vcpu
        assert vcpu.rip == ENTRY
        assert vcpu.rcx == TEXT + 0x103
        assert vcpu.r11 == 0xAD7
        assert vcpu.rflags == 0xAD7 & ~IF
        assert vcpu.cpl == 0
        assert vcpu.rsp == USER_STACK
        assert (vcpu.segment("cs").selector, vcpu.segment("ss").selector) == (KERNEL_CS, KERNEL_CS + 8)


@pytest.mark.parametrize(("mask", "cleared"), [(0, 0), (0x8D5, 0x8D5), (DF, DF), (AC, AC)])
def test_the_flag_mask_clears_flags(mask: int, cleared: int) -> None:
    flags = 0x2 | 0x8D5 | DF | AC
    with after_setup(LONG_USER, SYSCALL, VMCALL, rflags=flags, mask=mask) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rflags == flags & ~cleared
        assert cpu.vcpu.r11 == flags


@SLICES
def test_sysret_returns_to_64_bit_mode(slice_length: int | None) -> None:
    with after_setup(LONG_USER, code("90") + SYSCALL + code("90 0f 0b"), SYSRETQ, rflags=0xAD7) as cpu:
        found = delivery(cpu, LONG_USER, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip, found.cs, found.ss) == (6, TEXT + 0x104, USER_CODE_64, USER_DATA)
        assert found.rflags & ~RF == 0xAD7


def test_sysret_returns_to_compatibility_mode() -> None:
    with after_setup(COMPATIBILITY_USER, SYSCALL + code("0f 0b"), SYSRETL) as cpu:
        found = delivery(cpu, COMPATIBILITY_USER, cpu.run(), error_code=False)
        assert (found.vector, found.rip, found.cs, found.ss) == (6, TEXT + 0x102, USER_CODE_32, USER_DATA)


def test_syscall_in_compatibility_mode_enters_at_cstar() -> None:
    with after_setup(COMPATIBILITY_USER, SYSCALL, VMCALL) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rip == ENTRY_32
        assert cpu.vcpu.cpl == 0


@SLICES
@pytest.mark.parametrize("mode", [COMPATIBILITY_USER, PROTECTED_USER], ids=lambda mode: mode.name)
def test_sysenter_enters_the_kernel_with_a_stack_of_its_own(mode: Mode, slice_length: int | None) -> None:
    with after_setup(mode, SYSENTER, VMCALL, rflags=IF | 2) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        vcpu = cpu.vcpu
        assert (vcpu.rip, vcpu.rsp, vcpu.cpl) == (ENTRY, 0x9000, 0)
        assert not vcpu.interrupts_enabled
        assert vcpu.long_mode is mode.long


@SLICES
def test_sysexit_returns(slice_length: int | None) -> None:
    kernel = code("ba 04 61 00 00 b9 00 b0 00 00 ; mov edx, TEXT + 0x104; mov ecx, 0xb000") + SYSEXIT
    with after_setup(PROTECTED_USER, SYSENTER + code("90 90 0f 0b"), kernel) as cpu:
        found = delivery(cpu, PROTECTED_USER, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip, found.rsp) == (6, TEXT + 0x104, 0xB000)
        assert (found.cs, found.ss) == (0x1B, 0x23)


@SLICES
@pytest.mark.parametrize("mode", [PROTECTED, PROTECTED_USER], ids=lambda mode: mode.name)
def test_syscall_is_undefined_unless_efer_allows_it(mode: Mode, slice_length: int | None) -> None:
    with cpu_in(mode, code("90") + SYSCALL + code("b8 22 00 00 00 ; mov eax, 0x22")) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip) == (6, TEXT + 1)
        assert cpu.vcpu.rax != 0x22


@SLICES
def test_syscall_is_undefined_in_64_bit_mode_when_sce_is_cleared(slice_length: int | None) -> None:
    clear_sce = code("b9 80 00 00 c0 0f 32 24 fe 0f 30 ; mov ecx, EFER; rdmsr; and al, 0xfe; wrmsr")
    with cpu_in(LONG, clear_sce + SYSCALL + code("b8 22 00 00 00 ; mov eax, 0x22")) as cpu:
        found = delivery(cpu, LONG, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip) == (6, TEXT + len(clear_sce))
        assert cpu.vcpu.rax != 0x22


@SLICES
@pytest.mark.parametrize("mode", [COMPATIBILITY_USER, PROTECTED_USER], ids=lambda mode: mode.name)
def test_sysenter_without_a_selector_is_gp(mode: Mode, slice_length: int | None) -> None:
    with cpu_in(mode, code("90") + SYSENTER) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=True)
        assert (found.vector, found.error_code, found.rip) == (13, 0, TEXT + 1)


def test_sysenter_is_gp_in_real_mode() -> None:
    with cpu_in(REAL, SYSENTER) as cpu:
        assert delivery(cpu, REAL, cpu.run(), error_code=False).vector == 13


def test_a_single_step_through_syscall_goes_on_in_the_kernel_only_if_the_mask_lets_it() -> None:
    """TF is still set behind SYSCALL if the mask does not clear it: the trap comes behind the kernel's first instruction."""
    kernel = code("90 90") + VMCALL
    text = code("9c 81 0c 24 00 01 00 00 9d ; pushfq; or dword [rsp], TF; popfq") + SYSCALL
    with after_setup(LONG_USER, text, kernel) as cpu:
        contents = cpu.page(handler(1))
        contents[handler(1) & 0xFFF :][:2] = code("48 cf ; iretq")
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rip == ENTRY + 2


def test_the_registers_of_system_calls_are_the_processors_own() -> None:
    with after_setup(LONG_USER, SYSCALL, VMCALL) as cpu:
        cpu.run()
        assert not cpu.told(Wrmsr)


@pytest.mark.parametrize("slice_length", [1, 1_000])
def test_the_privilege_for_io_ends_with_the_program_that_had_it(slice_length: int) -> None:
    # The kernel goes on with another program, whose IOPL is 0.
    frame = b"".join(b"\x68" + struct.pack("<I", value) for value in (USER_DATA, USER_STACK, 2, USER_CODE_64, TEXT + 0x180))
    kernel = frame + code("48 cf ; iretq")
    with after_setup(LONG_USER, SYSCALL.ljust(0x80, b"\x90") + code("fa ; cli") + VMCALL, kernel, rflags=2 | IOPL_3) as cpu:
        found = delivery(cpu, LONG_USER, cpu.run(slice_length), error_code=True)
        assert (found.vector, found.rip) == (13, TEXT + 0x180)
