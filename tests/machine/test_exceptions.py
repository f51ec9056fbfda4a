"""Exceptions and software interrupts, as their handlers find them (Intel SDM vol. 3, "Interrupt and exception handling")."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs
import pytest

from kev.engine.amdv.blocks import FINDS_BRANCHES
from kev.engine.amdv.tlb_fills import NATIVE as TLB
from kev.engine.base import Budget
from kev.exits import IoIn, IoOut, TripleFault, Vmcall
from tests.machine.code import SPIN, VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import (
    ABSENT_PAGE,
    CODE_32,
    COMPATIBILITY_USER,
    EVERY_MODE,
    INTERRUPT_STACK,
    KERNEL_PAGE,
    LONG,
    LONG_USER,
    NO_EXECUTE_PAGE,
    NOT_PRESENT,
    PROTECTED,
    PROTECTED_USER,
    READ_ONLY_PAGE,
    REAL,
    TEXT,
    Delivery,
    Mode,
    cpu_in,
    delivery,
    gate,
    gate_address,
    handler,
)

DATA: Final = 0x5000
HANDLER_16: Final = 0x7000
UD2: Final = code("0f 0b")
TF, IF, RF = 1 << 8, 1 << 9, 1 << 16
EXTERNAL, IDT_BIT = 1, 2
PAGED = (PROTECTED, PROTECTED_USER, LONG, LONG_USER, COMPATIBILITY_USER)
KERNEL = (REAL, PROTECTED, LONG)
USER = (PROTECTED_USER, LONG_USER, COMPATIBILITY_USER)
NOT_64_BIT = (REAL, PROTECTED, PROTECTED_USER, COMPATIBILITY_USER)


@attrs.frozen
class Provocation:
    """Code that raises an exception: at its end, or where `offset` says."""

    name: str
    text: bytes
    vector: int
    modes: Sequence[Mode] = EVERY_MODE
    error_code: int | None = None
    offset: int | None = None
    """Where the exception is reported at, in bytes from the beginning of the code; None for behind it."""
    contents: bytes = b""
    """At DATA."""


def edi(value: int) -> bytes:
    """MOV EDI, value: the same bytes in 32-bit and 64-bit mode."""
    return b"\xbf" + struct.pack("<I", value)


def page_fault(name: str, access: str, page: int, error_code: int, modes: Iterable[Mode]) -> Provocation:
    return Provocation(f"#PF: {name}", edi(page) + code(access), 14, tuple(modes), error_code, 5)


READ, WRITE, JUMP = "8b 07 ; mov eax, [edi]", "c6 07 01 ; mov byte [edi], 1", "ff e7 ; jmp edi"
KERNEL_PAGED = (PROTECTED, LONG)

PROVOCATIONS = (
    Provocation("#DE: division by zero", code("31 c9 f7 f1 ; xor ecx, ecx; div ecx"), 0, offset=2),
    Provocation("INT3", code("cc"), 3),
    Provocation("INT 3", code("cd 03"), 3),
    Provocation("INT 4", code("cd 04"), 4),
    Provocation("INTO", code("b0 7f 00 c0 ce ; mov al, 0x7f; add al, al; into"), 4, NOT_64_BIT),
    Provocation("INT n", code("cd 40"), 0x40, KERNEL),
    Provocation("INT1", code("f1"), 1),
    Provocation("INT1 behind prefixes", code("66 2e f1"), 1),
    Provocation("INT 6", code("cd 06"), 6, KERNEL),
    Provocation("INT 13 has no error code", code("cd 0d"), 13, KERNEL),
    Provocation("INT n that the gate forbids", code("cd 40"), 13, USER, 0x40 << 3 | 2, 0),
    Provocation("INT 13 that the gate forbids", code("cd 0d"), 13, USER, 13 << 3 | 2, 0),
    Provocation("#BR in 16 bits", code("b0 01 62 06 00 50 ; mov al, 1; bound ax, [0x5000]"), 5, (REAL,), offset=2),
    Provocation(
        "#BR",
        code("b0 01 62 05 00 50 00 00 ; mov al, 1; bound eax, [0x5000]"),
        5,
        (PROTECTED, PROTECTED_USER, COMPATIBILITY_USER),
        offset=2,
    ),
    Provocation("#UD: UD2", code("0f 0b"), 6, offset=0),
    Provocation("#UD: MOVBE", code("0f 38 f0 07 ; movbe eax, [edi]"), 6, offset=0),
    Provocation("#UD: MOVBE between registers", code("0f 38 f1 c0 ; movbe eax, eax"), 6, offset=0),
    Provocation("#UD: LOCK on a register", code("f0 01 c0 ; lock add eax, eax"), 6, offset=0),
    Provocation(
        "#NM: CR0.TS",
        code("0f 20 c0; mov eax, cr0\n 83 c8 08; or eax, TS\n 0f 22 c0; mov cr0, eax\n db e3; fninit"),
        7,
        KERNEL,
        offset=9,
    ),
    Provocation("#TS: IRET to no task", code("68 02 40 00 00; push NT\n 9d; popf\n cf; iret"), 10, (PROTECTED,), 0, 6),
    Provocation("#NP: a data segment", edi(NOT_PRESENT) + code("8e df; mov ds, edi"), 11, KERNEL_PAGED, NOT_PRESENT, 5),
    Provocation("#SS: a stack segment", edi(NOT_PRESENT) + code("8e d7; mov ss, edi"), 12, KERNEL_PAGED, NOT_PRESENT, 5),
    Provocation("#GP: a selector behind the table", edi(0x60) + code("8e df; mov ds, edi"), 13, PAGED, 0x60, 5),
    Provocation("#GP: kernel data", edi(0x10) + code("8e df; mov ds, edi"), 13, USER, 0x10, 5),
    Provocation("#GP: CLI", code("fa"), 13, USER, 0, 0),
    Provocation("#GP: HLT", code("f4"), 13, USER, 0, 0),
    Provocation("#GP: MOV from CR0", code("0f 20 c0"), 13, USER, 0, 0),
    Provocation("#GP: RDPMC", code("31 c9 0f 33 ; xor ecx, ecx; rdpmc"), 13, PAGED, 0, 2),
    *(
        Provocation(
            f"#GP: {name} of an address that is not canonical",
            edi(DATA) + code(text),
            13,
            (LONG,),
            0,
            5,
            struct.pack("<HQ", 0x7F, 1 << 47),
        )
        for name, text in (("LGDT", "0f 01 17 ; lgdt [rdi]"), ("LIDT", "0f 01 1f ; lidt [rdi]"))
    ),
    Provocation(
        "#GP: an address that is not canonical",
        code("48 bf 00 00 00 00 00 00 01 00 8b 07 ; mov rdi, 1 << 48; mov eax, [rdi]"),
        13,
        (LONG, LONG_USER),
        0,
        10,
    ),
    *(
        Provocation(
            f"#GP: {name} to an address that is not canonical",
            code(f"48 bf 00 00 00 00 00 00 01 00 {setting} {text} ; mov rdi, 1 << 48"),
            13,
            (LONG, LONG_USER),
            0,
            10 + len(code(setting)),
        )
        for name, setting, text in (
            ("JMP through a register", "", "ff e7 ; jmp rdi"),
            ("JMP through R15", "49 89 ff", "41 ff e7 ; mov r15, rdi; jmp r15"),
            ("JMP through memory", "57", "ff 24 24 ; push rdi; jmp [rsp]"),
            ("CALL through a register", "", "ff d7 ; call rdi"),
            ("CALL through memory", "57", "ff 14 24 ; push rdi; call [rsp]"),
            ("JMP behind another block", "eb 00", "ff e7 ; jmp $+2; jmp rdi"),
        )
    ),
    *(
        Provocation(
            f"#GP: WRMSR of an address that is not canonical to {index:#x}",
            b"\xb9" + struct.pack("<I", index) + code("31 c0 ba 00 80 00 00 0f 30 ; xor eax, eax; mov edx, 0x8000; wrmsr"),
            13,
            (LONG,),
            0,
            12,
        )
        for index in (0x175, 0x176, 0xC0000082, 0xC0000083, 0xC0000100, 0xC0000101, 0xC0000102)
    ),
    Provocation(
        "#GP: WRMSR to PAT of a memory type that does not exist",
        code("b9 77 02 00 00 b8 06 04 07 00 ba 06 04 02 00 0f 30 ; mov ecx, PAT; mov eax, 0x70406; mov edx, 0x20406; wrmsr"),
        13,
        KERNEL_PAGED,
        0,
        15,
    ),
    page_fault("a read of an absent page", READ, ABSENT_PAGE, 0, KERNEL_PAGED),
    page_fault("a write to an absent page", WRITE, ABSENT_PAGE, 2, KERNEL_PAGED),
    page_fault("a write to a read-only page", WRITE, READ_ONLY_PAGE, 3, KERNEL_PAGED),
    page_fault("a read of an absent page at CPL 3", READ, ABSENT_PAGE, 4, USER),
    page_fault("a write to an absent page at CPL 3", WRITE, ABSENT_PAGE, 6, USER),
    page_fault("a read of a kernel page", READ, KERNEL_PAGE, 5, USER),
    page_fault("a write to a kernel page", WRITE, KERNEL_PAGE, 7, USER),
    Provocation(
        "#MF",
        edi(DATA) + code("db e3; fninit\n d9 2f; fldcw [edi]\n d9 e8; fld1\n d9 ee; fldz\n de f9; fdivp\n 9b; fwait"),
        16,
        PAGED,
        offset=15,
        contents=struct.pack("<H", 0x37B),
    ),
)

ALL = [
    pytest.param(provocation, mode, id=f"{provocation.name}-{mode.name}")
    for provocation in PROVOCATIONS
    for mode in provocation.modes
]


def run(provocation: Provocation, mode: Mode, *, pages: str = "lazy", slice_length: int | None = None) -> tuple[Cpu, Delivery]:
    with cpu_in(mode, provocation.text, {DATA: provocation.contents}) as cpu:
        if pages == "eager":
            cpu.load_everything()
        cpu.awaits_pages = pages == "awaited"
        exit = cpu.run(slice_length)
    return cpu, delivery(cpu, mode, exit, error_code=provocation.error_code is not None)


@pytest.mark.parametrize(("provocation", "mode"), ALL)
def test_the_frame_is_the_manuals(provocation: Provocation, mode: Mode) -> None:
    cpu, found = run(provocation, mode)
    offset = len(provocation.text) if provocation.offset is None else provocation.offset
    assert attrs.evolve(found, rflags=0, rsp=None, ss=None) == Delivery(
        vector=provocation.vector, rip=TEXT + offset, cs=mode.cs, rflags=0, error_code=provocation.error_code
    )
    assert cpu.vcpu.cpl == 0
    assert not cpu.vcpu.rflags & RF


@pytest.mark.parametrize(("provocation", "mode"), ALL)
@pytest.mark.parametrize(("pages", "slice_length"), [("eager", None), ("awaited", None), ("lazy", 1), ("awaited", 1)])
def test_it_is_the_same_whenever_pages_come_and_slices_end(
    provocation: Provocation, mode: Mode, pages: str, slice_length: int | None
) -> None:
    reference, expected = run(provocation, mode)
    cpu, found = run(provocation, mode, pages=pages, slice_length=slice_length)
    assert found == expected
    assert cpu.vcpu.rsp == reference.vcpu.rsp
    assert cpu.vcpu.rflags == reference.vcpu.rflags
    assert cpu.vcpu.cr2 == reference.vcpu.cr2


@pytest.mark.skipif(TLB is None or not FINDS_BRANCHES, reason="where a branch has led from is not known on this host")
@pytest.mark.parametrize("mode", [LONG, LONG_USER], ids=lambda mode: mode.name)
@pytest.mark.parametrize("slice_length", [None, 1, 3])
@pytest.mark.parametrize(
    ("text", "offset", "pushed"),
    [
        ("57 c3 ; push rdi; ret", 11, 8),
        ("57 f3 c3 ; push rdi; rep ret", 11, 8),
        ("57 c2 10 00 ; push rdi; ret 16", 11, 8),
        ("e8 02 00 00 00 eb 01 c3 57 c3 ; call a; jmp b; a: ret; b: push rdi; ret", 19, 8),
        ("68 14 60 00 00 c3 90 90 90 90 57 83 f9 01 c3 ; push $+10; ret; nops; push rdi; cmp ecx, 1; ret", 24, 8),
        ("eb 02 ff e7 eb fc ; jmp b; a: jmp rdi; b: jmp a", 12, 0),
    ],
)
def test_of_several_branches_the_one_that_led_nowhere_raises_general_protection(
    mode: Mode, slice_length: int | None, text: str, offset: int, pushed: int
) -> None:
    with cpu_in(mode, code(f"48 bf 00 00 00 00 00 00 01 00 {text}")) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=True)
        assert (found.vector, found.error_code, found.rip, found.rsp) == (13, 0, TEXT + offset, mode.stack - pushed)


@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)
def test_the_frame_holds_the_flags_and_the_stack_pointer(mode: Mode) -> None:
    cpu, found = run_text(mode, UD2, rflags=0xA97)  # OF, IF, SF, AF, PF and CF
    assert found.rflags & ~RF == 0xA97
    assert (found.rsp, found.ss) == ((mode.stack, mode.ss) if mode.switches_stack else (None, None))
    assert not cpu.vcpu.interrupts_enabled


@pytest.mark.parametrize(("provocation", "mode"), [case for case in ALL if case.values[1] is not REAL])
def test_the_frame_of_a_fault_holds_rf(provocation: Provocation, mode: Mode) -> None:
    """Intel SDM vol. 3, "Instruction-breakpoint exception condition": of faults, but two (docs/limits.md), and of no trap."""
    _, found = run(provocation, mode)
    assert bool(found.rflags & RF) == (provocation.offset is not None and provocation.vector not in (7, 14))


@pytest.mark.parametrize("mode", PAGED, ids=lambda mode: mode.name)
def test_an_interrupt_gate_clears_if_and_a_trap_gate_does_not(mode: Mode) -> None:
    for kind, enabled in ((0xE, False), (0xF, True)):
        cpu, found = run_text(mode, UD2, {gate_address(mode, 6): gate(mode, 6, kind=kind)}, rflags=IF)
        assert found.vector == 6
        assert cpu.vcpu.interrupts_enabled is enabled


@pytest.mark.parametrize("mode", PAGED, ids=lambda mode: mode.name)
def test_cr2_holds_the_address_of_a_page_fault(mode: Mode) -> None:
    cpu, _ = run_text(mode, edi(ABSENT_PAGE + 0x123) + code(READ), error_code=True)
    assert cpu.vcpu.cr2 == ABSENT_PAGE + 0x123


@pytest.mark.parametrize("mode", [LONG, LONG_USER], ids=lambda mode: mode.name)
def test_a_fetch_from_a_page_without_execution_is_a_page_fault_there(mode: Mode) -> None:
    _, found = run_text(mode, edi(NO_EXECUTE_PAGE) + code(JUMP), error_code=True)
    assert (found.vector, found.error_code, found.rip) == (14, 0x15 if mode.cpl else 0x11, NO_EXECUTE_PAGE)


@pytest.mark.parametrize("mode", [LONG, LONG_USER], ids=lambda mode: mode.name)
def test_the_interrupt_stack_table_gives_the_handler_a_stack_of_its_own(mode: Mode) -> None:
    cpu, found = run_text(mode, UD2, {gate_address(mode, 6): gate(mode, 6, ist=1)})
    assert cpu.vcpu.rsp == INTERRUPT_STACK - 5 * 8
    assert found.rsp == mode.stack


def test_a_64_bit_frame_is_aligned_to_16_bytes() -> None:
    cpu, found = run_text(LONG, code("50 6a 01 66 50 ; push rax; push 1; push ax") + UD2)
    assert found.rsp == LONG.stack - 18
    assert cpu.vcpu.rsp == (LONG.stack - 18 & ~0xF) - 5 * 8


@pytest.mark.parametrize(("text", "error_code"), [(UD2, None), (edi(0x60) + code("8e df ; mov ds, edi"), 0x60)])
def test_a_16_bit_gate_pushes_words(text: bytes, error_code: int | None) -> None:
    vector = 6 if error_code is None else 13
    sixteen_bits = struct.pack("<HHBBH", HANDLER_16, CODE_32, 0, 0x86, 0)
    with cpu_in(PROTECTED, text, {gate_address(PROTECTED, vector): sixteen_bits, HANDLER_16: VMCALL}) as cpu:
        assert cpu.run() == Vmcall()
    words = [cpu.read(cpu.vcpu.rsp + i, 2) for i in range(0, 8, 2)]
    if error_code is not None:
        assert words.pop(0) == error_code
    assert words[:2] == [TEXT + len(text) - 2, CODE_32]
    assert cpu.vcpu.rip == HANDLER_16


# One event after the other.


def absent_gates(mode: Mode, *vectors: int) -> dict[int, bytes]:
    return {gate_address(mode, vector): gate(mode, vector, present=False) for vector in vectors}


@pytest.mark.parametrize("mode", PAGED, ids=lambda mode: mode.name)
@pytest.mark.parametrize("slice_length", [None, 1])
def test_a_gate_that_is_not_present_is_np_with_the_gates_number(mode: Mode, slice_length: int | None) -> None:
    _, found = run_text(mode, UD2, absent_gates(mode, 6), error_code=True, slice_length=slice_length)
    assert (found.vector, found.error_code, found.rip) == (11, 6 << 3 | IDT_BIT | EXTERNAL, TEXT)


@pytest.mark.parametrize("mode", PAGED, ids=lambda mode: mode.name)
def test_a_software_interrupt_through_a_gate_that_is_not_present_is_not_external(mode: Mode) -> None:
    contents = {gate_address(mode, 0x40): gate(mode, 0x40, dpl=3, present=False)}
    _, found = run_text(mode, code("90 cd 40"), contents, error_code=True)
    assert (found.vector, found.error_code, found.rip) == (11, 0x40 << 3 | IDT_BIT, TEXT + 1)


@pytest.mark.parametrize("mode", PAGED, ids=lambda mode: mode.name)
@pytest.mark.parametrize("slice_length", [None, 1])
def test_a_second_contributory_exception_is_a_double_fault(mode: Mode, slice_length: int | None) -> None:
    text = code("90 31 c9 f7 f1 ; nop; xor ecx, ecx; div ecx")
    _, found = run_text(mode, text, absent_gates(mode, 0), error_code=True, slice_length=slice_length)
    assert (found.vector, found.error_code, found.rip) == (8, 0, TEXT + 3)


@pytest.mark.parametrize("mode", PAGED, ids=lambda mode: mode.name)
def test_a_page_fault_that_cannot_be_delivered_is_a_double_fault(mode: Mode) -> None:
    _, found = run_text(mode, edi(ABSENT_PAGE) + code(READ), absent_gates(mode, 14), error_code=True)
    assert (found.vector, found.error_code, found.rip) == (8, 0, TEXT + 5)


def test_a_stack_without_room_for_the_frame_is_a_double_fault() -> None:
    text = b"\xbc" + struct.pack("<I", ABSENT_PAGE + 0x1000) + code("8b 04 24 ; mov esp, ABSENT_PAGE + 4096; mov eax, [esp]")
    contents = {gate_address(LONG, 8): gate(LONG, 8, ist=1)}
    cpu, found = run_text(LONG, text[:5] + UD2, contents, error_code=True)
    assert (found.vector, found.error_code, found.rip) == (8, 0, TEXT + 5)
    assert cpu.vcpu.cr2 in range(ABSENT_PAGE, ABSENT_PAGE + 0x1000)


@pytest.mark.parametrize("mode", PAGED, ids=lambda mode: mode.name)
@pytest.mark.parametrize("slice_length", [None, 1])
def test_a_double_fault_that_cannot_be_delivered_is_a_triple_fault(mode: Mode, slice_length: int | None) -> None:
    text = code("31 c9 f7 f1 ; xor ecx, ecx; div ecx")
    with cpu_in(mode, text, absent_gates(mode, 0, 8, 11)) as cpu:
        assert cpu.run(slice_length) == TripleFault(0)
        assert cpu.vcpu.rip == TEXT + 2


def test_a_vector_behind_the_interrupt_vector_table_is_a_triple_fault() -> None:
    """Intel SDM vol. 3, "Real-address mode": an IDT limit that no vector fits into."""
    text = code("0f 01 1e 00 50 0f 0b ; lidt [0x5000]; ud2")
    with cpu_in(REAL, text, {DATA: bytes(6)}) as cpu:
        assert cpu.run() == TripleFault(6)


# Single steps.


@pytest.mark.parametrize("mode", PAGED, ids=lambda mode: mode.name)
@pytest.mark.parametrize("slice_length", [None, 1])
@pytest.mark.parametrize(
    ("name", "text", "length"),
    [
        ("NOP", "90 0f 0b", 1),
        ("CPUID", "0f a2 0f 0b", 2),
        ("RDTSC", "0f 31 0f 0b", 2),
        ("RDTSCP", "0f 01 f9 0f 0b", 3),
        ("IN", "e4 10 0f 0b", 2),
        ("OUT", "e6 10 0f 0b", 2),
    ],
)
def test_a_single_step_traps_behind_the_instruction(
    mode: Mode, slice_length: int | None, name: str, text: str, length: int
) -> None:
    cpu, found = run_text(mode, code(text), rflags=TF | 2, slice_length=slice_length)
    assert (found.vector, found.rip) == (1, TEXT + length)
    assert found.rflags & TF
    assert not cpu.vcpu.rflags & TF


@pytest.mark.parametrize("mode", KERNEL_PAGED, ids=lambda mode: mode.name)
@pytest.mark.parametrize(
    ("name", "text", "length"),
    [
        ("MOV to CR4", "0f 20 e0 0f 22 e0", 6),
        ("RDMSR of EFER", "b9 80 00 00 c0 0f 32", 7),
        ("MOV to CR3", "0f 20 d8 0f 22 d8", 6),
        ("a hypercall", "b8 05 00 00 00 0f 01 c1", 8),
    ],
)
def test_a_kernel_is_stepped_through_what_is_emulated(mode: Mode, name: str, text: str, length: int) -> None:
    """Each handler returns, until the last instruction is done."""
    contents = {handler(1): code("40 cf") if mode is PROTECTED else code("48 ff c5 48 cf ; inc rbp; iretq")}
    contents[handler(6)] = SPIN
    with cpu_in(mode, code(text) + UD2, contents, rflags=TF | 2, answers={Vmcall: lambda _: 5}) as cpu:
        cpu.run_slice(Budget(instructions=200))
        assert cpu.vcpu.rip == handler(6)
        if mode is LONG:
            assert cpu.vcpu.rbp == 2


def test_string_instructions_trap_after_every_iteration() -> None:
    text = code("b9 03 00 00 00 f3 a4 ; mov ecx, 3; rep movsb")
    contents = {handler(1): code("45 cf ; inc ebp; iret"), handler(6): VMCALL}
    with cpu_in(PROTECTED, text + UD2, contents, rflags=TF | 2) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rbp == 4


# I/O permission.


@pytest.mark.parametrize("mode", USER, ids=lambda mode: mode.name)
@pytest.mark.parametrize("slice_length", [None, 1, 2])
@pytest.mark.parametrize("instruction", ["e4 30 ; in al, 0x30", "e6 30 ; out 0x30, al", "e5 17 ; in eax, 0x17", "f3 6c ; rep insb"])
def test_a_forbidden_port_is_gp_and_nothing_behind_it_is_executed(mode: Mode, slice_length: int | None, instruction: str) -> None:
    before = edi(DATA) + code("ba 30 00 00 00 b9 05 00 00 00 83 c1 ff ; mov edx, 0x30; mov ecx, 5; add ecx, -1")
    after = code("b9 22 00 00 00; mov ecx, 0x22\n c6 47 01 55; mov [edi+1], 0x55")
    cpu, found = run_text(mode, before + code(instruction) + after, error_code=True, slice_length=slice_length)
    assert (found.vector, found.error_code, found.rip) == (13, 0, TEXT + len(before))
    assert found.rflags & 0x8D5 == 0x11  # CF and AF
    assert (cpu.vcpu.rcx, cpu.vcpu.rdi) == (4, DATA)
    assert cpu.read(DATA + 1, 1) == 0
    assert not cpu.told(IoIn)
    assert not cpu.told(IoOut)


@pytest.mark.parametrize("mode", USER, ids=lambda mode: mode.name)
@pytest.mark.parametrize("slice_length", [None, 3])
def test_a_forbidden_port_changes_no_register_after_a_write_to_dr7(mode: Mode, slice_length: int | None) -> None:
    """The kernel writes to DR7 and returns, twice: the CPU may not look for breakpoints at I/O any more."""
    clear_dr7 = code("31 c0  0f 23 f8  83 04 24 02 ; xor eax, eax; mov dr7, eax; add dword [esp], 2")
    back = code("48 cf ; iretq") if mode.long else code("cf ; iret")
    forbidden = code("b8 41 00 00 00  83 c0 01  e6 30 ; mov eax, 0x41; add eax, 1; out 0x30, al")
    after = code("b8 22 00 00 00  31 db  bb 33 00 00 00 ; mov eax, 0x22; xor ebx, ebx; mov ebx, 0x33")
    text = UD2 + UD2 + forbidden + after
    cpu, found = run_text(mode, text, {handler(6): clear_dr7 + back}, error_code=True, slice_length=slice_length)
    assert (found.vector, found.error_code, found.rip) == (13, 0, TEXT + len(UD2 + UD2 + forbidden) - 2)
    assert (cpu.vcpu.rax, cpu.vcpu.rbx) == (0x42, 0)
    assert found.rflags & 0x8D5 == 0x04  # PF
    assert not cpu.told(IoOut)


@pytest.mark.parametrize("mode", USER, ids=lambda mode: mode.name)
@pytest.mark.parametrize("pages", ["lazy", "awaited"])
def test_the_permission_map_allows_a_port(mode: Mode, pages: str) -> None:
    with cpu_in(mode, code("e4 10 0f 0b ; in al, 0x10; ud2"), answers={IoIn: lambda _: 0x99}) as cpu:
        cpu.awaits_pages = pages == "awaited"
        assert delivery(cpu, mode, cpu.run(), error_code=False).vector == 6
        assert cpu.vcpu.rax & 0xFF == 0x99
        assert cpu.told(IoIn) == [IoIn(0x10, 1)]


@pytest.mark.parametrize("mode", USER, ids=lambda mode: mode.name)
def test_the_io_privilege_level_allows_every_port(mode: Mode) -> None:
    with cpu_in(mode, code("e4 30 0f 0b ; in al, 0x30; ud2"), rflags=0x3002) as cpu:
        assert delivery(cpu, mode, cpu.run(), error_code=False).vector == 6
        assert cpu.told(IoIn) == [IoIn(0x30, 1)]


def run_text(
    mode: Mode,
    text: bytes,
    contents: Mapping[int, bytes] | None = None,
    *,
    error_code: bool = False,
    rflags: int = 2,
    slice_length: int | None = None,
) -> tuple[Cpu, Delivery]:
    with cpu_in(mode, text, contents, rflags=rflags) as cpu:
        exit = cpu.run(slice_length)
    return cpu, delivery(cpu, mode, exit, error_code=error_code)
