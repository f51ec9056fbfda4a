"""SYSCALL, SYSRET, SYSENTER and SYSEXIT (AMD64 APM vol. 3; Intel SDM vol. 2 for SYSENTER in 64-bit mode).

SYSCALL and SYSRET are carried out by the processor, and by the hypervisor where it has taken them away: the guest finds the same.
"""

import struct
from collections.abc import Callable

import pytest

from kev.addressing import Gva
from kev.engine.base import Budget, VcpuState
from kev.exits import Breakpoint, InvalidOpcode, Vmcall, Wrmsr
from kev.vmexit.system_call import SystemCallController
from kev.x86 import EFER_SCE
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import (
    COMPATIBILITY_USER,
    GDT,
    KERNEL_PAGE,
    LONG,
    LONG_USER,
    PROTECTED,
    PROTECTED_USER,
    REAL,
    TASK,
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

EFER, STAR, LSTAR, CSTAR, FMASK = 0xC0000080, 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084
SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP = 0x174, 0x175, 0x176
KERNEL = 0x7000
ENTRY, ENTRY_32 = KERNEL + 0x100, KERNEL + 0x200
KERNEL_CS, USER_BASE = 0x18, 0x20
SYSCALL, SYSENTER, SYSEXIT = code("0f 05"), code("0f 34"), code("0f 35")
SYSRETQ, SYSRETL = code("48 0f 07"), code("0f 07")
SLICES = pytest.mark.parametrize("slice_length", [None, 1])
EMULATED = pytest.mark.parametrize("emulated", [False, True], ids=["processor", "hypervisor"])
TF, IF, DF, AC, RF, IOPL_3 = 1 << 8, 1 << 9, 1 << 10, 1 << 18, 1 << 16, 3 << 12


def wrmsr(msr: int, value: int) -> bytes:
    """MOV ECX, msr; MOV EAX, low; MOV EDX, high; WRMSR."""
    return struct.pack("<BIBIBI", 0xB9, msr, 0xB8, value & 0xFFFF_FFFF, 0xBA, value >> 32) + code("0f 30")


def emulate_system_calls(cpu: Cpu, serve: Callable[[VcpuState], int | None] | None = None) -> None:
    def read(_state: VcpuState, gva: Gva, length: int) -> bytes:
        return cpu.read(gva, length).to_bytes(length, "little")

    controller = SystemCallController(read, serve)
    cpu.engine.withhold_efer(EFER_SCE)
    cpu.engine.intercept_invalid_opcodes()
    cpu.answers[InvalidOpcode] = lambda _: controller.handle(cpu.current, InvalidOpcode())


def after_setup(
    mode: Mode,
    text: bytes,
    kernel: bytes,
    *,
    rflags: int = 2,
    mask: int = TF | IF | DF,
    emulated: bool = False,
    efer: int | None = None,
    vcpus: int = 1,
) -> Cpu:
    """A CPU that sets the registers of system calls up at CPL 0, and runs `text` at TEXT + 0x100 at CPL 3."""
    selectors = KERNEL_CS << 32 | (USER_BASE | 3) << 48
    registers = {
        STAR: selectors | ENTRY_32, LSTAR: ENTRY, CSTAR: ENTRY_32, FMASK: mask,
        SYSENTER_CS: KERNEL_CS if mode.long else 0x08, SYSENTER_ESP: 0x9000, SYSENTER_EIP: ENTRY,
    }  # fmt: skip
    setup = b"".join(wrmsr(msr, value) for msr, value in registers.items() if mode.long or msr not in (LSTAR, CSTAR, FMASK))
    if efer is not None:
        setup += wrmsr(EFER, efer)
    user = USER_CODE_32 if mode in (COMPATIBILITY_USER, PROTECTED_USER) else USER_CODE_64
    leave = b"".join(b"\x68" + struct.pack("<I", value) for value in (USER_DATA, USER_STACK, rflags, user, TEXT + 0x100))
    setup += leave + code("48 cf ; iretq" if mode.long else "cf ; iret")
    contents = {TEXT + 0x100: text, ENTRY: kernel, ENTRY_32: kernel}
    cpu = cpu_in(LONG if mode.long else PROTECTED, setup, contents, vcpus=vcpus)
    if emulated:
        emulate_system_calls(cpu)
    return cpu


@EMULATED
@SLICES
def test_syscall_enters_the_kernel(slice_length: int | None, emulated: bool) -> None:
    with after_setup(LONG_USER, code("90") + SYSCALL, VMCALL, rflags=0xAD7, emulated=emulated) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        vcpu = cpu.vcpu
        assert vcpu.rip == ENTRY
        assert vcpu.rcx == TEXT + 0x103
        assert vcpu.r11 == 0xAD7
        assert vcpu.rflags == 0xAD7 & ~IF
        assert vcpu.cpl == 0
        assert vcpu.rsp == USER_STACK
        assert (vcpu.segment("cs").selector, vcpu.segment("ss").selector) == (KERNEL_CS, KERNEL_CS + 8)


@EMULATED
@pytest.mark.parametrize(("mask", "cleared"), [(0, 0), (0x8D5, 0x8D5), (DF, DF), (AC, AC)])
def test_the_flag_mask_clears_flags(mask: int, cleared: int, emulated: bool) -> None:
    flags = 0x2 | 0x8D5 | DF | AC
    with after_setup(LONG_USER, SYSCALL, VMCALL, rflags=flags, mask=mask, emulated=emulated) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rflags == flags & ~cleared
        assert cpu.vcpu.r11 == flags


@EMULATED
@SLICES
def test_sysret_returns_to_64_bit_mode(slice_length: int | None, emulated: bool) -> None:
    with after_setup(LONG_USER, code("90") + SYSCALL + code("90 0f 0b"), SYSRETQ, rflags=0xAD7, emulated=emulated) as cpu:
        found = delivery(cpu, LONG_USER, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip, found.cs, found.ss) == (6, TEXT + 0x104, USER_CODE_64, USER_DATA)
        assert found.rflags & ~RF == 0xAD7


@EMULATED
def test_sysret_returns_to_compatibility_mode(emulated: bool) -> None:
    with after_setup(COMPATIBILITY_USER, SYSCALL + code("0f 0b"), SYSRETL, emulated=emulated) as cpu:
        found = delivery(cpu, COMPATIBILITY_USER, cpu.run(), error_code=False)
        assert (found.vector, found.rip, found.cs, found.ss) == (6, TEXT + 0x102, USER_CODE_32, USER_DATA)


@EMULATED
def test_syscall_in_compatibility_mode_enters_at_cstar(emulated: bool) -> None:
    with after_setup(COMPATIBILITY_USER, SYSCALL, VMCALL, emulated=emulated) as cpu:
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


@EMULATED
def test_a_single_step_through_syscall_goes_on_in_the_kernel_only_if_the_mask_lets_it(emulated: bool) -> None:
    """TF is still set behind SYSCALL if the mask does not clear it: the trap comes behind the kernel's first instruction."""
    kernel = code("90 90") + VMCALL
    text = code("9c 81 0c 24 00 01 00 00 9d ; pushfq; or dword [rsp], TF; popfq") + SYSCALL
    with after_setup(LONG_USER, text, kernel, emulated=emulated) as cpu:
        contents = cpu.page(handler(1))
        contents[handler(1) & 0xFFF :][:2] = code("48 cf ; iretq")
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rip == ENTRY + 2


def test_the_registers_of_system_calls_are_the_processors_own() -> None:
    with after_setup(LONG_USER, SYSCALL, VMCALL) as cpu:
        cpu.run()
        assert not cpu.told(Wrmsr)


@EMULATED
@pytest.mark.parametrize("slice_length", [1, 1_000])
def test_the_privilege_for_io_ends_with_the_program_that_had_it(slice_length: int, emulated: bool) -> None:
    # The kernel goes on with another program, whose IOPL is 0.
    frame = b"".join(b"\x68" + struct.pack("<I", value) for value in (USER_DATA, USER_STACK, 2, USER_CODE_64, TEXT + 0x180))
    kernel = frame + code("48 cf ; iretq")
    with after_setup(
        LONG_USER, SYSCALL.ljust(0x80, b"\x90") + code("fa ; cli") + VMCALL, kernel, rflags=2 | IOPL_3, emulated=emulated
    ) as cpu:
        found = delivery(cpu, LONG_USER, cpu.run(slice_length), error_code=True)
        assert (found.vector, found.rip) == (13, TEXT + 0x180)


# Where the hypervisor has taken SYSCALL and SYSRET away


def at_cpl_0(text: bytes) -> Cpu:
    """A CPU that runs `text` at CPL 0, with STAR and nothing else set up."""
    cpu = cpu_in(LONG, wrmsr(STAR, KERNEL_CS << 32 | (USER_BASE | 3) << 48) + text)
    emulate_system_calls(cpu)
    return cpu


def test_efer_reads_without_what_is_withheld() -> None:
    read = code("b9 80 00 00 c0 0f 32 ; mov ecx, EFER; rdmsr")
    with at_cpl_0(wrmsr(EFER, 0xD01) + read + VMCALL) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rax == 0xD00


@SLICES
@pytest.mark.parametrize("text", [SYSCALL, code("0f 0b"), code("06"), code("48 06")], ids=["syscall", "ud2", "06", "48 06"])
def test_what_the_processor_would_not_execute_is_undefined(text: bytes, slice_length: int | None) -> None:
    """SYSCALL as long as LSTAR holds nothing, and whatever else there is not in 64-bit mode."""
    with at_cpl_0(code("90") + text) as cpu:
        found = delivery(cpu, LONG, cpu.run(slice_length), error_code=False)
        assert (found.vector, cpu.vcpu.history[-1].rip) == (6, found.rip)
        assert len(cpu.told(InvalidOpcode)) == 1


def test_int_6_is_no_invalid_opcode() -> None:
    with at_cpl_0(code("cd 06")) as cpu:
        assert delivery(cpu, LONG, cpu.run(), error_code=False).vector == 6
        assert not cpu.told(InvalidOpcode)


@pytest.mark.parametrize("text", [SYSRETQ, code("0f 05")], ids=["sysret at CPL 3", "sysret to where no address is"])
def test_sysret_is_gp_where_the_processor_refuses_it(text: bytes) -> None:
    nowhere = code("48 b9 00 00 00 00 00 80 00 00 ; mov rcx, 0x800000000000") + SYSRETQ
    with after_setup(LONG_USER, text, nowhere, emulated=True) as cpu:
        mode = LONG_USER if text == SYSRETQ else LONG
        found = delivery(cpu, mode, cpu.run(), error_code=True)
        assert (found.vector, found.error_code) == (13, 0)


@EMULATED
def test_outside_of_ia32e_mode_syscall_leads_to_where_star_says(emulated: bool) -> None:
    with after_setup(PROTECTED_USER, SYSCALL + code("0f 0b"), SYSRETL, emulated=emulated, efer=1) as cpu:
        found = delivery(cpu, PROTECTED_USER, cpu.run(), error_code=False)
        assert (found.vector, found.rip, found.cs, found.ss) == (6, TEXT + 0x102, USER_CODE_32, USER_DATA)
        assert found.rflags & IF


def test_every_vcpu_makes_its_own_system_calls() -> None:
    with after_setup(LONG_USER, SYSCALL + VMCALL, SYSRETQ, emulated=True, vcpus=2) as cpu:
        while cpu.vcpu.rip != TEXT + 0x100:
            cpu.run_slice(Budget(instructions=1))
        cpu.page(GDT)[(GDT & 0xFFF) + TASK + 5] &= ~2  # the task that vCPU 0 has made busy
        for vcpu in (1, 0):
            assert cpu.run(vcpu=vcpu) == Vmcall()
            assert (cpu.current.rip, cpu.current.cpl) == (TEXT + 0x102, 3)
        assert len(cpu.told(InvalidOpcode)) == 4


def test_a_breakpoint_at_the_entry_of_the_kernel_is_hit() -> None:
    with after_setup(LONG_USER, SYSCALL, VMCALL, emulated=True) as cpu:
        cpu.engine.set_breakpoints(frozenset({ENTRY}))
        assert cpu.run() == Breakpoint(Gva(ENTRY))
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.cpl == 0


@SLICES
def test_a_call_that_is_served_changes_rax_and_nothing_else(slice_length: int | None) -> None:
    text = code("b9 01 00 00 00 41 bb 02 00 00 00 ; mov ecx, 1; mov r11d, 2") + SYSCALL + VMCALL
    with after_setup(LONG_USER, text, VMCALL, rflags=0xAD7) as cpu:
        emulate_system_calls(cpu, lambda state: state.rcx + 6)
        assert cpu.run(slice_length) == Vmcall()
        vcpu = cpu.vcpu
        assert (vcpu.rax, vcpu.rcx, vcpu.r11) == (7, 1, 2)
        assert (vcpu.rip, vcpu.cpl, vcpu.rflags) == (TEXT + 0x100 + len(text) - 3, 3, 0xAD7)


def test_a_call_that_ends_the_slice_is_made_again() -> None:
    with after_setup(LONG_USER, SYSCALL + VMCALL, VMCALL) as cpu:
        replies = iter([None, 5])
        emulate_system_calls(cpu, lambda _: next(replies))
        assert cpu.run() == InvalidOpcode()
        assert cpu.vcpu.rip == TEXT + 0x100
        assert cpu.run() == Vmcall()
        assert (cpu.vcpu.rax, cpu.vcpu.rip) == (5, TEXT + 0x102)


def test_a_call_that_was_put_off_is_finished_later() -> None:
    with after_setup(LONG_USER, SYSCALL + VMCALL, SYSRETQ) as cpu:
        emulate_system_calls(cpu)
        answer, cpu.answers[InvalidOpcode] = cpu.answers[InvalidOpcode], lambda _: None
        for _ in range(2):
            exit = cpu.run()
            assert exit == InvalidOpcode()
            reply = answer(exit)
            assert reply is not None
            cpu.engine.complete(cpu.vcpu, exit, reply)
        assert cpu.run() == Vmcall()
        assert (cpu.vcpu.rip, cpu.vcpu.cpl) == (TEXT + 0x102, 3)


def test_a_kernel_is_served_nothing() -> None:
    with cpu_in(LONG, SYSCALL) as cpu:
        emulate_system_calls(cpu, lambda _: 0)
        assert delivery(cpu, LONG, cpu.run(), error_code=False).vector == 6


@pytest.mark.parametrize("text", [SYSCALL, code("06")], ids=["syscall", "06"])
def test_at_the_end_of_a_page_nothing_behind_it_is_read(text: bytes) -> None:
    """The next page is not mapped."""
    start = KERNEL_PAGE - len(text)
    jump = b"\x48\xb8" + struct.pack("<Q", start) + code("ff e0 ; mov rax, start; jmp rax")
    with cpu_in(LONG, jump, {start: text}) as cpu:
        read: list[int] = []

        def note(_state: VcpuState, gva: Gva, length: int) -> bytes:
            read.extend(range(gva, gva + length))
            return cpu.read(gva, length).to_bytes(length, "little")

        controller = SystemCallController(note)
        cpu.engine.withhold_efer(EFER_SCE)
        cpu.engine.intercept_invalid_opcodes()
        cpu.answers[InvalidOpcode] = lambda _: controller.handle(cpu.vcpu, InvalidOpcode())
        assert delivery(cpu, LONG, cpu.run(), error_code=False).vector == 6
        assert read
        assert max(read) < KERNEL_PAGE
