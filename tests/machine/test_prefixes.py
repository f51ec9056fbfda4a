"""Instructions that the hypervisor carries out, behind prefixes that change nothing (Intel SDM vol. 2, "Instruction prefixes")."""

import ctypes

import pytest

from kev.engine.amdv.counting import NATIVE as COUNTING
from kev.exits import Cpuid, Exit, Hlt, Pause, PreemptionTimer, Rdmsr, Rdtsc, Reply, Vmcall, Wrmsr
from kev.x86 import MSR_EFER
from tests.machine.code import VMCALL, code
from tests.machine.modes import COMPATIBILITY_USER, LONG, LONG_USER, PROTECTED, PROTECTED_USER, REAL, TEXT, Mode, cpu_in, delivery
from tests.machine.test_system_calls import ENTRY, SYSCALL, SYSENTER, after_setup

MODES = pytest.mark.parametrize("mode", [REAL, PROTECTED, LONG], ids=lambda mode: mode.name)
SLICES = pytest.mark.parametrize("slice_length", [None, 1])
OTHER_MSR = 0x10
LEGACY = ["66", "2e", "67 66", "65 65 65 65"]
ANSWERS = {Rdmsr: lambda _: 5, Wrmsr: lambda _: 0, Pause: lambda _: 0, Rdtsc: lambda _: 5}
INSTRUCTIONS = {
    "cpuid": (Cpuid, "0f a2"),
    "rdmsr": (Rdmsr, "0f 32"),
    "wrmsr": (Wrmsr, "0f 30"),
    "rdtsc": (Rdtsc, "0f 31"),
    "rdtscp": (Rdtsc, "0f 01 f9"),
    "pause": (Pause, "f3 90"),
    "hlt": (Hlt, "f4"),
    "vmmcall": (Vmcall, "0f 01 d9"),
}

CLEAR_SCE = code("b9 80 00 00 c0 0f 32 24 fe 0f 30 ; mov ecx, EFER; rdmsr; and al, 0xfe; wrmsr")


def load_ecx(mode: Mode, value: int) -> bytes:
    return code("66 b9" if mode is REAL else "b9") + value.to_bytes(4, "little")


def prefixes(mode: Mode) -> list[str]:
    return [*LEGACY, "48", "66 48", "48 2e"] if mode is LONG else LEGACY


@MODES
@SLICES
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_what_exits_ends_behind_its_opcode(mode: Mode, name: str, slice_length: int | None) -> None:
    kind, opcode = INSTRUCTIONS[name]
    calls: list[Exit] = []

    def call(exit: Exit) -> Reply | None:
        """The first hypercall goes on if it is what is tested."""
        calls.append(exit)
        return 7 if kind is Vmcall and len(calls) == 1 else None

    for each in prefixes(mode):
        calls.clear()
        instruction = load_ecx(mode, OTHER_MSR) + code(f"{each} {opcode}")
        with cpu_in(mode, instruction + VMCALL, answers={**ANSWERS, Vmcall: call}, vcpus=2) as cpu:
            exit = cpu.run(slice_length)
            if kind is Hlt:
                assert exit == Hlt()
            else:
                assert exit == Vmcall()
                assert len(cpu.told(kind)) == (2 if kind is Vmcall else 1)
            assert cpu.vcpu.rip == TEXT + len(instruction)


@MODES
def test_efer_is_left_behind_as_other_registers_are(mode: Mode) -> None:
    text = load_ecx(mode, MSR_EFER) + code("2e 0f 32 2e 0f 30")  # rdmsr; wrmsr
    with cpu_in(mode, text + VMCALL) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rip == TEXT + len(text)


@SLICES
@pytest.mark.parametrize("prefix", ["48", "2e", "66", "66 48"])
def test_syscall_enters_where_it_should_and_returns_behind_itself(prefix: str, slice_length: int | None) -> None:
    instruction = code(prefix) + SYSCALL
    with after_setup(LONG_USER, instruction, VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert (cpu.vcpu.rip, cpu.vcpu.rcx, cpu.vcpu.cpl) == (ENTRY, TEXT + 0x100 + len(instruction), 0)


@SLICES
@pytest.mark.parametrize(("mode", "entry"), [(COMPATIBILITY_USER, ENTRY), (PROTECTED_USER, ENTRY)], ids=["long", "protected"])
@pytest.mark.parametrize("prefix", ["2e", "67 66"])
def test_sysenter_enters_where_it_should(mode: Mode, entry: int, prefix: str, slice_length: int | None) -> None:
    with after_setup(mode, code(prefix) + SYSENTER, VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert (cpu.vcpu.rip, cpu.vcpu.cpl) == (entry, 0)


@MODES
@SLICES
@pytest.mark.parametrize("prefix", ["2e", "66", "67 66", "65 65 65 65"])
def test_a_system_call_that_is_refused_is_refused_in_the_guest(mode: Mode, prefix: str, slice_length: int | None) -> None:
    """Its exception is delivered by an instruction of the hypervisor's own, and by nothing that stands behind that."""
    disable = b"" if mode is REAL else CLEAR_SCE
    for instruction, vector in ((SYSCALL, 6), (SYSENTER, 13)):
        if instruction is SYSENTER and mode is LONG:
            continue  # #UD, as on AMD processors, without a hook
        with cpu_in(mode, disable + code(prefix) + instruction) as cpu:
            found = delivery(cpu, mode, cpu.run(slice_length), error_code=vector == 13 and mode is not REAL)
            assert (found.vector, found.rip) == (vector, TEXT + len(disable))


@SLICES
def test_what_a_system_call_was_translated_from_need_not_be_there_any_more(slice_length: int | None) -> None:
    """The guest maps other code there, and does not tell the CPU."""
    change_entry = code("48 c7 04 25 30 30 01 00 27 70 00 00 ; mov qword [entry of TEXT], 0x7027")
    text = CLEAR_SCE + change_entry + code("66 66 66 66") + SYSCALL
    other = {0x7000 + len(CLEAR_SCE) + len(change_entry): SYSCALL}
    with cpu_in(LONG, text, other) as cpu:
        assert delivery(cpu, LONG, cpu.run(slice_length), error_code=False).vector == 6


@MODES
@pytest.mark.parametrize("counting", [COUNTING, None], ids=["natively", "by the CPU"])
def test_a_system_call_that_is_refused_counts_as_any_undefined_instruction(mode: Mode, counting: ctypes.CDLL | None) -> None:
    counts = set()
    for undefined in ("0f 0b", "0f 05", "66 0f 05"):
        for slice_length in (1, 2, 3, 1000):
            with cpu_in(mode, (b"" if mode is REAL else CLEAR_SCE) + code(f"90 {undefined}"), counting=counting) as cpu:
                assert delivery(cpu, mode, cpu.run(slice_length), error_code=False).vector == 6
                counts.add(cpu.vcpu.instructions)
    assert len(counts) == 1


def test_a_prefix_that_is_none_in_the_mode_is_an_instruction() -> None:
    with cpu_in(PROTECTED, code("48 0f a2 ; dec eax; cpuid") + VMCALL, answers=ANSWERS) as cpu:
        assert cpu.run(1) == Vmcall()
        assert cpu.vcpu.rip == TEXT + 3
        assert PreemptionTimer() not in cpu.told(Cpuid)
