"""Control registers, EFER, and the instructions that a processor without AMD-V does not have."""

import struct

import pytest

from kev.engine.amdv.tlb_fills import NATIVE as TLB
from kev.engine.base import SINGLE_STEP, Budget
from kev.exits import CrAccess, Exit, Reply, Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import (
    ABSENT_PAGE,
    EVERY_MODE,
    GDT,
    IDT,
    KERNEL_PAGE,
    LONG,
    LONG_USER,
    PAGE_TABLES,
    PROTECTED,
    PROTECTED_USER,
    READ_ONLY_PAGE,
    REAL,
    TASK,
    TEXT,
    Mode,
    cpu_in,
    delivery,
    handler,
)

DATA = 0x5000
PAE, UMIP, FSGSBASE, OSFXSR, VMXE = 1 << 5, 1 << 11, 1 << 16, 1 << 9, 1 << 13
NEEDS_TLB = pytest.mark.skipif(TLB is None, reason="native/tlb.c is not compiled for this host")
SLICES = pytest.mark.parametrize("slice_length", [None, 1])
KERNEL = pytest.mark.parametrize("mode", [PROTECTED, LONG], ids=lambda mode: mode.name)


def load(register: int, value: int) -> bytes:
    """MOV r32, value."""
    return bytes([0xB8 + register]) + struct.pack("<I", value)


MOV_CR4_EAX, MOV_EAX_CR4 = code("0f 22 e0"), code("0f 20 e0")
ESI, EDI = 6, 7


# CR4.


@SLICES
@KERNEL
@pytest.mark.parametrize("bits", [0x7DF & ~PAE, UMIP, FSGSBASE, OSFXSR])
def test_bits_that_cpuid_announces_can_be_set(mode: Mode, slice_length: int | None, bits: int) -> None:
    value = PAE * mode.long | bits
    with cpu_in(mode, load(0, value) + MOV_CR4_EAX + code("31 c0 ; xor eax, eax") + MOV_EAX_CR4 + VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rax == cpu.vcpu.cr4 == value


@SLICES
@KERNEL
@pytest.mark.parametrize("bits", [VMXE, 1 << 12, 1 << 18, 1 << 22, 1 << 31], ids=["VMXE", "LA57", "OSXSAVE", "PKE", "reserved"])
def test_other_bits_are_gp(mode: Mode, slice_length: int | None, bits: int) -> None:
    with cpu_in(mode, load(0, PAE * mode.long | bits) + MOV_CR4_EAX) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=True)
        assert (found.vector, found.error_code, found.rip) == (13, 0, TEXT + 5)
        assert not cpu.vcpu.cr4 & bits


def test_pae_cannot_be_cleared_in_long_mode() -> None:
    with cpu_in(LONG, load(0, 0) + MOV_CR4_EAX) as cpu:
        assert delivery(cpu, LONG, cpu.run(), error_code=True).vector == 13


# CR0.

PE, TS, ET, WP, AM, NW, CD, PG = 1 << 0, 1 << 3, 1 << 4, 1 << 16, 1 << 18, 1 << 29, 1 << 30, 1 << 31
MOV_CR0_EAX, MOV_EAX_CR0 = code("0f 22 c0"), code("0f 20 c0")
CR0 = PG | WP | 0x33


@SLICES
@KERNEL
@pytest.mark.parametrize("value", [CR0 & ~WP, CR0 | AM | TS, CR0 | CD, CR0 | CD | NW], ids=hex)
def test_cr0_takes_what_is_allowed(mode: Mode, slice_length: int | None, value: int) -> None:
    with cpu_in(mode, load(0, value) + MOV_CR0_EAX + code("31 c0 ; xor eax, eax") + MOV_EAX_CR0 + VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rax == cpu.vcpu.cr0 == value


@SLICES
@KERNEL
@pytest.mark.parametrize("value", [CR0 & ~PE, CR0 | NW, PG], ids=["PG without PE", "NW without CD", "PG alone"])
def test_cr0_is_gp_for_what_cannot_be(mode: Mode, slice_length: int | None, value: int) -> None:
    with cpu_in(mode, load(0, value) + MOV_CR0_EAX) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=True)
        assert (found.vector, found.error_code, found.rip) == (13, 0, TEXT + 5)
        assert cpu.vcpu.cr0 == CR0


@SLICES
@pytest.mark.parametrize("text", ["0d 00 00 01 00 48 0f ba e8 20 ; bts rax, 32", "25 ff ff ff 7f ; without PG"])
def test_in_64_bit_mode_cr0_keeps_paging_and_its_high_half(text: str, slice_length: int | None) -> None:
    with cpu_in(LONG, MOV_EAX_CR0 + code(text) + MOV_CR0_EAX) as cpu:
        assert delivery(cpu, LONG, cpu.run(slice_length), error_code=True).vector == 13
        assert cpu.vcpu.cr0 == CR0


@pytest.mark.parametrize(
    "write", [MOV_CR0_EAX, code("0f 01 f0 ; lmsw ax"), code("0f 06 ; clts")], ids=["MOV to CR0", "LMSW", "CLTS"]
)
@KERNEL
def test_et_is_always_set(mode: Mode, write: bytes) -> None:
    with cpu_in(mode, load(0, CR0 & ~ET) + write + MOV_EAX_CR0 + VMCALL) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rax & ET


def test_reserved_bits_in_the_low_half_of_cr0_are_ignored() -> None:
    with cpu_in(PROTECTED, load(0, CR0 | 1 << 6 | 1 << 17 | 1 << 28) + MOV_CR0_EAX + MOV_EAX_CR0 + VMCALL) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rax == CR0


def test_long_mode_is_not_entered_without_pae() -> None:
    enable_lme = code("b9 80 00 00 c0 b8 00 01 00 00 31 d2 0f 30 ; wrmsr EFER")
    leave = MOV_EAX_CR0 + code("25 ff ff ff 7f ; and eax, ~PG") + MOV_CR0_EAX
    enter = load(0, CR0) + MOV_CR0_EAX
    with cpu_in(PROTECTED, leave + enable_lme + enter) as cpu:
        found = delivery(cpu, PROTECTED, cpu.run(), error_code=True)
        assert (found.vector, found.rip) == (13, TEXT + len(leave + enable_lme + enter) - 3)
        assert cpu.vcpu.cr0 == CR0 & ~PG


@SLICES
@KERNEL
def test_write_protection_follows_cr0_at_once(mode: Mode, slice_length: int | None) -> None:
    store = code("c6 06 01 ; mov byte [esi], 1")
    text = load(ESI, READ_ONLY_PAGE) + load(0, CR0 & ~WP) + MOV_CR0_EAX + store + load(0, CR0) + MOV_CR0_EAX
    with cpu_in(mode, text + store) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=True)
        assert (found.vector, found.rip) == (14, TEXT + len(text))
        assert cpu.read(READ_ONLY_PAGE, 1) == 1


@SLICES
@pytest.mark.parametrize("mode", [REAL, PROTECTED, LONG], ids=lambda mode: mode.name)
def test_clts_and_lmsw_change_the_bits_that_they_are_for(mode: Mode, slice_length: int | None) -> None:
    """LMSW sets PE and never clears it: AX is MP, EM and TS, and PE where it is set."""
    status = 0xE | (not mode.real)
    text = code("b8") + status.to_bytes(2 if mode.real else 4, "little") + code("0f 01 f0 ; lmsw ax")
    text += code("0f 20 c3 ; mov ebx, cr0") + code("0f 06 ; clts") + code("0f 20 c1 ; mov ecx, cr0") + VMCALL
    with cpu_in(mode, text) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        before = 0x30 if mode.real else CR0
        assert cpu.vcpu.rbx & 0xFFFF_FFFF == before & ~0xE | status
        assert cpu.vcpu.rcx & 0xFFFF_FFFF == (before & ~0xE | status) & ~TS


@KERNEL
def test_the_machine_status_word_is_loaded_from_memory(mode: Mode) -> None:
    with cpu_in(mode, load(ESI, DATA) + code("0f 01 36 ; lmsw [esi]") + VMCALL, {DATA: bytes([0x08, 0xFF])}) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.cr0 == CR0 & ~0xE | TS


@pytest.mark.parametrize("mode", [PROTECTED_USER, LONG_USER], ids=lambda mode: mode.name)
@pytest.mark.parametrize("text", ["0f 22 c0", "0f 01 f0", "0f 06"], ids=["mov", "lmsw", "clts"])
def test_programs_cannot_write_cr0(mode: Mode, text: str) -> None:
    with cpu_in(mode, load(0, CR0) + code(text)) as cpu:
        assert delivery(cpu, mode, cpu.run(), error_code=True).vector == 13


# CR3.

MOV_CR3_EAX, MOV_EAX_CR3 = code("0f 22 d8"), code("0f 20 d8")


@SLICES
@KERNEL
def test_writes_to_cr3_do_not_exit_unless_they_are_asked_for(mode: Mode, slice_length: int | None) -> None:
    with cpu_in(mode, MOV_EAX_CR3 + MOV_CR3_EAX + VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.told(CrAccess) == []


@SLICES
@KERNEL
def test_a_write_to_cr3_that_exits_is_carried_out(mode: Mode, slice_length: int | None) -> None:
    """The code changes the entry of a page that it has read, and reads it again when CR3 was written."""
    entry = PAGE_TABLES + (0x3000 + 8 * (KERNEL_PAGE >> 12) if mode.long else 0x1000 + 4 * (KERNEL_PAGE >> 12))
    read_page, read_again = code("8b 1e ; mov ebx, [esi]"), code("8b 0e ; mov ecx, [esi]")
    text = load(ESI, KERNEL_PAGE) + load(EDI, entry) + read_page + code("c7 07 03 50 00 00 ; mov dword [edi], DATA | 3")
    text += MOV_EAX_CR3 + MOV_CR3_EAX + read_again + MOV_EAX_CR3
    contents = {KERNEL_PAGE: b"old.", DATA: b"new."}
    with cpu_in(mode, text + VMCALL, contents, answers={CrAccess: lambda _: 0}) as cpu:
        cpu.engine.intercept_cr3_writes()
        assert cpu.run(slice_length) == Vmcall()
        written = cpu.told(CrAccess)
        assert written[-1] == CrAccess(3, PAGE_TABLES)
        assert (cpu.vcpu.rbx, cpu.vcpu.rcx) == tuple(int.from_bytes(word, "little") for word in (b"old.", b"new."))
        assert cpu.vcpu.rax == cpu.vcpu.cr3 == PAGE_TABLES


@KERNEL
def test_any_register_may_be_written_to_cr3(mode: Mode) -> None:
    text = MOV_EAX_CR3 + code("89 c5 0f 22 dd ; mov ebp, eax; mov cr3, ebp")
    if mode.long:
        text += code("49 89 c4 41 0f 22 dc ; mov r12, rax; mov cr3, r12")
    with cpu_in(mode, text + VMCALL, answers={CrAccess: lambda _: 0}) as cpu:
        cpu.engine.intercept_cr3_writes()
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.cr3 == PAGE_TABLES
        # The first one is that of the code before, which enables paging.
        assert cpu.told(CrAccess) == [CrAccess(3, PAGE_TABLES)] * (3 if mode.long else 2)


@pytest.mark.parametrize("mode", [PROTECTED_USER, LONG_USER], ids=lambda mode: mode.name)
def test_programs_cannot_write_cr3_even_if_writes_exit(mode: Mode) -> None:
    with cpu_in(mode, MOV_CR3_EAX, answers={CrAccess: lambda _: 0}) as cpu:
        cpu.engine.intercept_cr3_writes()
        found = delivery(cpu, mode, cpu.run(), error_code=True)
        assert (found.vector, found.error_code, found.rip) == (13, 0, TEXT)
        assert len(cpu.told(CrAccess)) == 1


# CR8.


@SLICES
def test_cr8_is_the_machines(slice_length: int | None) -> None:
    priorities: list[int] = []

    def answer(exit: Exit) -> Reply:
        assert isinstance(exit, CrAccess)
        if exit.value is None:
            return 7
        priorities.append(exit.value)
        return 0

    text = code("41 bf 05 00 00 00 ; mov r15d, 5\n 45 0f 22 c7 ; mov cr8, r15\n 44 0f 20 c3 ; mov rbx, cr8")
    with cpu_in(LONG, text + VMCALL, answers={CrAccess: answer}) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert priorities == [5]
        assert cpu.vcpu.rbx == 7


# UMIP.

ENABLE_UMIP = MOV_EAX_CR4 + code("0d 00 08 00 00 ; or eax, UMIP") + MOV_CR4_EAX
TABLE_READS = {
    "SGDT": code("0f 01 07"),
    "SIDT": code("0f 01 0f"),
    "SLDT": code("0f 00 07"),
    "STR": code("0f 00 0f"),
    "SMSW": code("0f 01 27"),
    "SMSW to a register": code("66 0f 01 e3 ; smsw bx"),
    "SLDT to a register": code("0f 00 c3 ; sldt ebx"),
    "STR to a register": code("0f 00 cb ; str ebx"),
}
READS = pytest.mark.parametrize("instruction", TABLE_READS.values(), ids=TABLE_READS.keys())


def user_code(mode: Mode) -> bytes:
    """Goes on at CPL 3, at TEXT + 0x100, from CPL 0."""
    segments = (0x2B, 0xC000, 2, 0x33 if mode.long else 0x23, TEXT + 0x100)
    pushes = b"".join(b"\x68" + struct.pack("<I", value) for value in segments)
    return (
        code("6a 2b 58 8e d8 8e c0 ; push USER_DATA; pop eax; mov ds, eax; mov es, eax")
        + pushes
        + code("48 cf" if mode.long else "cf")
    )


def umip_cpu(mode: Mode, text: bytes) -> Cpu:
    """A CPU that runs `text` at CPL 3, with EDI pointing to DATA, while CR4.UMIP is set."""
    return cpu_in(mode, ENABLE_UMIP + user_code(mode), {TEXT + 0x100: load(EDI, DATA) + text})


@SLICES
@KERNEL
@READS
def test_system_tables_are_gp_for_programs_while_umip_is_set(mode: Mode, slice_length: int | None, instruction: bytes) -> None:
    user = LONG_USER if mode.long else PROTECTED_USER
    with umip_cpu(mode, instruction) as cpu:
        found = delivery(cpu, user, cpu.run(slice_length), error_code=True)
        assert (found.vector, found.error_code, found.rip) == (13, 0, TEXT + 0x105)
        assert cpu.read(DATA, 8) == 0


@pytest.mark.parametrize("null_prefix", ["26", "2e", "36", "3e"])
def test_a_prefix_that_64_bit_mode_ignores_does_not_end_an_override(null_prefix: str) -> None:
    text = code(f"64 {null_prefix} 0f 01 04 25 00 01 00 00 ; sgdt fs:[0x100]")
    with cpu_in(LONG, ENABLE_UMIP + text + VMCALL) as cpu:
        while cpu.vcpu.instruction_address != TEXT:
            cpu.run_slice(SINGLE_STEP)
        cpu.vcpu.set_segment("fs", cpu.vcpu.segment("fs")._replace(base=DATA))
        assert cpu.run() == Vmcall()
        assert cpu.read(DATA + 0x102, 4) == cpu.vcpu.gdtr.base


@SLICES
@KERNEL
@READS
@pytest.mark.parametrize("umip", [False, True])
def test_the_kernel_reads_system_tables_whether_umip_is_set_or_not(
    mode: Mode, slice_length: int | None, instruction: bytes, umip: bool
) -> None:
    text = (ENABLE_UMIP if umip else b"") + load(EDI, DATA) + load(3, 0xFFFF_FFFF) + instruction + VMCALL
    with cpu_in(mode, text, {DATA: b"\xee" * 16}) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert (cpu.vcpu.rbx, bytes(cpu.page(DATA)[:16])) == expected(cpu, instruction)


def expected(cpu: Cpu, instruction: bytes) -> tuple[int, bytes]:
    """EBX, and memory at DATA, behind the instruction."""
    width = 8 if cpu.vcpu.long_mode else 4
    gdt = struct.pack("<H", cpu.read(0x2FF0, 2)) + GDT.to_bytes(width, "little")
    idt = struct.pack("<H", cpu.read(0x2FF8, 2)) + IDT.to_bytes(width, "little")
    stored = {
        "SGDT": gdt,
        "SIDT": idt,
        "SLDT": bytes(2),
        "STR": struct.pack("<H", TASK),
        "SMSW": struct.pack("<H", cpu.vcpu.cr0 & 0xFFFF),
    }
    loaded = {"SLDT to a register": 0, "STR to a register": TASK, "SMSW to a register": 0xFFFF_0000 | cpu.vcpu.cr0 & 0xFFFF}
    name = next(name for name, text in TABLE_READS.items() if text == instruction)
    return loaded.get(name, 0xFFFF_FFFF), stored.get(name, b"").ljust(16, b"\xee")


def test_programs_read_system_tables_while_umip_is_clear() -> None:
    text = load(EDI, DATA) + TABLE_READS["SGDT"] + code("0f 0b")
    with cpu_in(LONG_USER, text) as cpu:
        assert delivery(cpu, LONG_USER, cpu.run(), error_code=False).vector == 6
        assert cpu.read(DATA + 2, 8) == GDT


@KERNEL
def test_a_system_table_that_cannot_be_stored_is_a_page_fault(mode: Mode) -> None:
    with cpu_in(mode, ENABLE_UMIP + load(EDI, ABSENT_PAGE) + TABLE_READS["SIDT"]) as cpu:
        found = delivery(cpu, mode, cpu.run(), error_code=True)
        assert (found.vector, found.error_code, found.rip) == (14, 2, TEXT + len(ENABLE_UMIP) + 5)
        assert cpu.vcpu.cr2 == ABSENT_PAGE


@pytest.mark.parametrize("slice_length", [None, 1])
@KERNEL
def test_a_system_table_goes_to_a_page_that_has_to_be_awaited(mode: Mode, slice_length: int | None) -> None:
    with cpu_in(mode, ENABLE_UMIP + load(EDI, 0x8FFC) + TABLE_READS["SGDT"] + VMCALL) as cpu:
        cpu.awaits_pages = True
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.read(0x8FFE, 2) == GDT


@SLICES
def test_smsw_takes_operands_of_each_size(slice_length: int | None) -> None:
    wide = code("48 c7 c3 ff ff ff ff 48 0f 01 e3 ; mov rbx, -1; smsw rbx")
    narrow = code("48 c7 c1 ff ff ff ff 66 0f 01 e1 ; mov rcx, -1; smsw cx")
    with cpu_in(LONG, ENABLE_UMIP + wide + narrow + VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rbx == cpu.vcpu.cr0
        assert cpu.vcpu.rcx == 0xFFFF_FFFF_FFFF_0000 | cpu.vcpu.cr0 & 0xFFFF


@SLICES
@KERNEL
def test_cr0_is_read_while_umip_is_set(mode: Mode, slice_length: int | None) -> None:
    with cpu_in(mode, ENABLE_UMIP + code("0f 20 c3 ; mov ebx, cr0") + VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rbx == cpu.vcpu.cr0


# EFER, and what is hidden.


@SLICES
def test_efer_reads_as_it_was_written(slice_length: int | None) -> None:
    with cpu_in(LONG, code("b9 80 00 00 c0 0f 32 ; mov ecx, EFER; rdmsr") + VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert (cpu.vcpu.rdx, cpu.vcpu.rax) == (0, 0xD01)  # NXE LMA LME SCE, and no SVME


@pytest.mark.parametrize("value", [0x1D01, 0x801, 1 << 33 | 0xD01, 0x2D01], ids=["SVME", "LME cleared", "reserved", "LMSLE"])
def test_efer_refuses_bits_that_are_reserved_and_the_loss_of_lme_while_paging_is_on(value: int) -> None:
    text = code("b9 80 00 00 c0") + load(0, value & 0xFFFF_FFFF) + load(2, value >> 32) + code("0f 30")
    with cpu_in(LONG, text) as cpu:
        found = delivery(cpu, LONG, cpu.run(), error_code=True)
        assert (found.vector, found.rip) == (13, TEXT + 15)
        assert cpu.vcpu.efer == 0xD01


def test_the_high_halves_of_registers_do_not_count() -> None:
    text = code("48 b9 80 00 00 c0 ff ff ff ff ; mov rcx, 0xffffffff_c0000080\n 0f 32 ; rdmsr")
    with cpu_in(LONG, text + VMCALL) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rax == 0xD01


@SLICES
@KERNEL
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("VMRUN", "0f 01 d8"),
        ("VMLOAD", "0f 01 da"),
        ("VMSAVE", "0f 01 db"),
        ("STGI", "0f 01 dc"),
        ("CLGI", "0f 01 dd"),
        ("SKINIT", "0f 01 de"),
        ("INVLPGA", "0f 01 df"),
        ("MONITOR", "0f 01 c8"),
        ("MWAIT", "0f 01 c9"),
        ("VMXON", "f3 0f c7 30"),
        ("VMLAUNCH", "0f 01 c2"),
    ],
)
def test_instructions_of_hypervisors_are_undefined(mode: Mode, slice_length: int | None, name: str, text: str) -> None:
    with cpu_in(mode, code("31 c9 ; xor ecx, ecx") + code(text)) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip) == (6, TEXT + 2)


@SLICES
@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)
@pytest.mark.parametrize("instruction", ["0f 01 c1", "0f 01 d9"], ids=["VMCALL", "VMMCALL"])
def test_hypercalls_work_in_every_mode(mode: Mode, slice_length: int | None, instruction: str) -> None:
    replies = iter([0x1234, None])
    text = code("b8 55 00 00 00 ; mov eax, 0x55" if not mode.real else "b8 55 00") + code(instruction) + VMCALL
    with cpu_in(mode, text, answers={Vmcall: lambda _: next(replies)}) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rax == 0x1234
        assert cpu.vcpu.rip == TEXT + len(text) - 3


@SLICES
@KERNEL
def test_pat_holds_the_memory_types_that_were_written(mode: Mode, slice_length: int | None) -> None:
    write = load(1, 0x277) + load(0, 0x0104_0506) + load(2, 0x0007_0406) + code("0f 30 ; wrmsr")
    text = write + code("31 c0 31 d2 0f 32 ; xor eax, eax; xor edx, edx; rdmsr") + VMCALL
    with cpu_in(mode, text) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert (cpu.vcpu.rip, cpu.vcpu.rdx, cpu.vcpu.rax) == (TEXT + len(text) - 3, 0x0007_0406, 0x0104_0506)


def test_rdtscp_gives_the_processors_number_too() -> None:
    text = code("b9 03 01 00 c0 b8 05 00 00 00 31 d2 0f 30 ; mov ecx, TSC_AUX; mov eax, 5; xor edx, edx; wrmsr\n 0f 01 f9 ; rdtscp")
    with cpu_in(LONG, text + VMCALL) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rip == TEXT + len(text)
        assert cpu.vcpu.rcx == 5


@pytest.mark.parametrize("mode", [LONG_USER, PROTECTED_USER], ids=lambda mode: mode.name)
@pytest.mark.parametrize("instruction", ["0f 31", "0f 01 f9"], ids=["RDTSC", "RDTSCP"])
def test_the_time_stamp_counter_is_gp_for_programs_while_tsd_is_set(mode: Mode, instruction: str) -> None:
    kernel = LONG if mode.long else PROTECTED
    set_tsd = MOV_EAX_CR4 + code("83 c8 04 ; or eax, TSD") + MOV_CR4_EAX
    with cpu_in(kernel, set_tsd + user_code(kernel), {TEXT + 0x100: code(instruction)}) as cpu:
        found = delivery(cpu, mode, cpu.run(), error_code=True)
        assert (found.vector, found.rip) == (13, TEXT + 0x100)


# SMSW outside of 64-bit mode, and reads of CR0.


@SLICES
@pytest.mark.parametrize("umip", [False, True], ids=["", "UMIP"])
@pytest.mark.parametrize(
    ("mode", "text", "kept"),
    [
        (REAL, "66 bb ff ff ff ff 66 0f 01 e3 ; mov ebx, -1; smsw ebx", 0),
        (REAL, "66 bb ff ff ff ff 0f 01 e3 ; mov ebx, -1; smsw bx", 0xFFFF_0000),
        (PROTECTED, "bb ff ff ff ff 0f 01 e3 ; mov ebx, -1; smsw ebx", 0),
        (PROTECTED, "bb ff ff ff ff 66 0f 01 e3 ; mov ebx, -1; smsw bx", 0xFFFF_0000),
    ],
    ids=["real, 32 bits", "real, 16 bits", "protected, 32 bits", "protected, 16 bits"],
)
def test_smsw_writes_as_much_of_a_register_as_its_operand_size_says(
    mode: Mode, text: str, kept: int, umip: bool, slice_length: int | None
) -> None:
    enable = b"" if not umip else code("66 b8 00 08 00 00 0f 22 e0") if mode is REAL else ENABLE_UMIP
    with cpu_in(mode, enable + code(text) + VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        cr0 = cpu.vcpu.cr0
        assert cpu.vcpu.rbx == (kept | cr0 & 0xFFFF if kept else cr0)


@pytest.mark.parametrize("mode", [PROTECTED_USER], ids=lambda mode: mode.name)
def test_programs_may_read_the_machine_status_word_unless_umip_is_set(mode: Mode) -> None:
    with cpu_in(mode, code("0f 01 e3 ; smsw ebx") + VMCALL) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rbx == cpu.vcpu.cr0


@SLICES
def test_cr0_reads_as_it_is_in_real_mode(slice_length: int | None) -> None:
    with cpu_in(REAL, code("0f 20 c3 ; mov ebx, cr0") + VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rbx == cpu.vcpu.cr0 == 0x30


# Reserved bits of CR3.

LOADS_CR3 = {
    "rax": "48 b8 %s 0f 22 d8 ; mov rax, imm; mov cr3, rax",
    "rdi": "48 bf %s 0f 22 df ; mov rdi, imm; mov cr3, rdi",
    "r8": "49 b8 %s 41 0f 22 d8 ; mov r8, imm; mov cr3, r8",
    "r15": "49 bf %s 41 0f 22 df ; mov r15, imm; mov cr3, r15",
}


@NEEDS_TLB
@pytest.mark.parametrize("slice_length", [None, 1, 1000])
@pytest.mark.parametrize("value", [1 << 46, *(PAGE_TABLES | 1 << bit for bit in (40, 46, 51, 52, 63))], ids=hex)
@pytest.mark.parametrize("register", LOADS_CR3)
@pytest.mark.parametrize("intercepted", [False, True], ids=["", "intercepted"])
def test_reserved_bits_of_cr3_are_gp_at_the_mov(register: str, value: int, slice_length: int | None, intercepted: bool) -> None:
    """Intel SDM vol. 2, "MOV - Move to/from control registers"; AMD64 APM vol. 2, "CR3 register"."""
    text = code(LOADS_CR3[register].replace("%s", value.to_bytes(8, "little").hex()))
    with cpu_in(LONG, text + VMCALL) as cpu:
        cpu.answers.update({CrAccess: lambda _: 0})
        if intercepted:
            cpu.engine.intercept_cr3_writes()
        found = delivery(cpu, LONG, cpu.run(slice_length), error_code=True)
        length = 4 if register.startswith("r1") or register == "r8" else 3
        assert (found.vector, found.error_code, found.rip) == (13, 0, TEXT + len(text) - length)
        assert cpu.vcpu.cr3 == PAGE_TABLES


@NEEDS_TLB
@pytest.mark.parametrize("slice_length", [1, 1000])
def test_a_mov_to_cr3_that_is_refused_counts_as_what_raises_an_exception(slice_length: int) -> None:
    counts = []
    for refused in (code("0f 22 d8 ; mov cr3, rax"), code("0f 22 e0 ; mov cr4, rax")):
        with cpu_in(LONG, code("48 b8") + (PAGE_TABLES | 1 << 50).to_bytes(8, "little") + refused) as cpu:
            assert delivery(cpu, LONG, cpu.run(slice_length), error_code=True).vector == 13
            counts.append(cpu.vcpu.instructions)
    assert counts[0] == counts[1]


@NEEDS_TLB
def test_each_vcpu_keeps_its_own_cr3_if_another_is_refused() -> None:
    """vCPU 1 has tables of its own and runs between the MOV of vCPU 0 and the next instruction."""
    others = 0x18000
    first = code("48 b8") + (PAGE_TABLES | 1 << 50).to_bytes(8, "little") + code("0f 22 d8 ; mov cr3, rax")
    second = load(0, others) + code("0f 22 d8 eb fe ; mov cr3, rax; jmp $")
    free = code("c6 04 25 45 20 00 00 89 ; mov byte [GDT + TASK + 5], 0x89: for the LTR of the other vCPU")
    number = free + code(
        "b8 01 00 00 00 f0 0f c1 04 25 00 50 00 00 85 c0 75 0d ; mov eax, 1; lock xadd [DATA], eax; test eax, eax; jnz"
    )
    text = number + first + second
    tables = (PAGE_TABLES + 0x1000 | 7).to_bytes(8, "little")
    with cpu_in(LONG, text, {others: tables}, vcpus=2) as cpu:
        one = Budget(instructions=1)
        for vcpu, end in enumerate((len(number + first) - 3, len(text) - 2)):
            for _ in range(200):
                if cpu.vcpus[vcpu].rip != TEXT + end:
                    cpu.run_slice(one, vcpu)
            assert cpu.vcpus[vcpu].rip == TEXT + end
        cpu.run_slice(one, 0)
        cpu.run_slice(one, 1)
        assert delivery(cpu, LONG, cpu.run(), error_code=True).rip == TEXT + len(number + first) - 3
        assert [vcpu.cr3 for vcpu in cpu.vcpus] == [PAGE_TABLES, others]


@NEEDS_TLB
@pytest.mark.parametrize("slice_length", [None, 1])
def test_a_handler_goes_on_behind_a_mov_to_cr3_that_was_refused(slice_length: int | None) -> None:
    before = code("48 b8") + (PAGE_TABLES | 1 << 50).to_bytes(8, "little")
    skip = code("58 48 83 04 24 03 48 cf ; pop rax; add qword [rsp], 3; iretq")
    with cpu_in(LONG, before + code("0f 22 d8 bb 07 00 00 00 ; mov cr3, rax; mov ebx, 7") + VMCALL, {handler(13): skip}) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert (cpu.vcpu.rbx, cpu.vcpu.rip) == (7, TEXT + len(before) + 8)


@pytest.mark.parametrize("slice_length", [None, 1])
def test_cr3_has_no_reserved_bits_outside_of_ia_32e_mode(slice_length: int | None) -> None:
    text = code("b8 ff 0f 01 00 0f 22 d8 ; mov eax, PAGE_TABLES | 0xfff; mov cr3, eax")
    with cpu_in(PROTECTED, text + VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rip == TEXT + len(text)
