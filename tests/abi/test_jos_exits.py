"""Exits as the JOS VMM treats them: what it handles, what ends the guest, and the host's ticks."""

import struct

import pytest

import kev
from kev.clock import VirtualClock
from kev.machine.ending import Ending, EndingKind
from kev.machine.launcher import prepare
from kev.machine.run_report import RunReport
from tests.boot.images import elf, source
from tests.machine.code import code

MIB = 1 << 20
ASK = code("b8 01 00 00 00 0f 01 c1 ; mov eax, 1; vmcall")
SHUT_DOWN = code("fa f4 ; cli; hlt")
SHUT_DOWN_TEXT = b"\nHLT in guest, exiting guest.\n"
IDT = 2 * MIB
HANDLER = 0x200
"""Where a kernel has the handler of ticks, from its beginning."""
PRINT_TICK = code("b0 74 e6 e9 ; mov al, 't'; out 0xe9, al")
END_OF_INTERRUPT = code("b8 04 00 00 00 0f 01 c1 ; mov eax, 4; vmcall")
RETURN = code("cf ; iret")


def launch(text: bytes, *, seed: int | None = None) -> RunReport:
    return kev.launch(source(elf(ASK + text, bits=64)), seed=seed, timeout=30)


def printed(report: RunReport) -> bytes:
    return (report.output or b"").replace(SHUT_DOWN_TEXT, b"")


def dump(rip: int, rsp: int = 0, rflags: int = 2) -> bytes:
    return (
        "Unhandled VMEXIT, aborting guest.\n"
        "vmx: --- Begin VCPU Dump ---\n"
        f"vmx: RIP 0x{rip:016x} RSP 0x{rsp:016x} RFLAGS 0x{rflags:016x}\n"
        f"vmx: CR0 0x{0x31:016x} CR3 0x{0:016x}\n"
        f"vmx: CR4 0x{0x2000:016x} \n"
        "vmx: --- End VCPU Dump ---\n"
    ).encode()


def ticking(text: bytes, handler: bytes) -> bytes:
    """A kernel that runs `text`, with `handler` for vector 32."""
    offset = MIB + HANDLER
    gate = struct.pack("<HHHH", offset & 0xFFFF, 8, 0x8E00, offset >> 16)
    low, high = struct.unpack("<II", gate)
    store = code("c7 05")  # mov dword [address], value
    prepare = code("bc 00 7c 00 00 ; mov esp, 0x7c00")
    prepare += store + struct.pack("<II", IDT + 32 * 8, low) + store + struct.pack("<II", IDT + 32 * 8 + 4, high)
    prepare += store + struct.pack("<II", IDT + 0x800, 0x7FF) + store + struct.pack("<II", IDT + 0x802, IDT)
    prepare += code("0f 01 1d") + struct.pack("<I", IDT + 0x800)  # lidt
    return (prepare + text).ljust(HANDLER - len(ASK), b"\x90") + handler


@pytest.mark.parametrize("instruction", ["0f 32", "0f 30"], ids=["rdmsr", "wrmsr"])
@pytest.mark.parametrize("index", [0x10, 0x1B, 0x174, 0x277, 0x802, 0xC000_0082, 0xC000_0101, 0x4B56_4D01])
def test_no_msr_is_handled_but_efer(instruction: str, index: int) -> None:
    report = launch(b"\xb9" + struct.pack("<I", index) + code("31 c0 31 d2") + code(instruction))
    assert report.output == dump(MIB + 17, rflags=0x46)
    name = "RDMSR" if instruction == "0f 32" else "WRMSR"
    assert f"the JOS VMM handles no MSR but EFER: {name} of {index:#x}" in report.ending.message
    assert report.exit_code == 3


def test_efer_is_read_and_written() -> None:
    report = launch(code("b9 80 00 00 c0 0f 32 80 cc 01 0f 30 0f 32 88 e0 e6 e9 ; set LME, print bits 8 to 15") + SHUT_DOWN)
    assert printed(report) == b"\x01"


@pytest.mark.parametrize(("gpa", "shown"), [(0xA0000, "a0000"), (0xB9000, "b9000"), (0xFF123, "ff123"), (16 * MIB, "1000000"),
                                            (0xFEE0_0020, "fee00020"), (0xCAFE_0000, "cafe0000")])  # fmt: skip
@pytest.mark.parametrize("opcode", ["a1", "a3"], ids=["read", "write"])
def test_an_address_outside_of_memory_ends_the_guest(gpa: int, shown: str, opcode: str) -> None:
    report = launch(code(opcode) + struct.pack("<I", gpa))
    assert report.output == f"vmm: handle_eptviolation: Case 2, gpa {shown}\n".encode() + dump(MIB + 8)
    assert report.ending.kind is EndingKind.DIED
    assert f"gpa {gpa:#x} is not memory of a guest of the JOS VMM" in report.ending.message


@pytest.mark.parametrize("gpa", [0, 0x9FFFC, 0xB8000, 0xB8FFC, MIB + 0x10000, 16 * MIB - 4])
def test_memory_and_the_first_page_of_vga_text_can_be_written(gpa: int) -> None:
    report = launch(
        code("b8 61 00 00 00 a3") + struct.pack("<I", gpa) + code("31 c0 a1") + struct.pack("<I", gpa) + code("e6 e9") + SHUT_DOWN
    )
    assert printed(report) == b"a"


def test_what_is_written_there_is_on_the_screen() -> None:
    report = launch(code("66 c7 05 00 80 0b 00 68 07 66 c7 05 02 80 0b 00 69 07 ; 'h', 'i'") + SHUT_DOWN)
    assert report.screen == "hi"


def read_cmos(index: int) -> bytes:
    return bytes([0xB0, index]) + code("e6 70 e4 71 e6 e9 ; out 0x70, al; in al, 0x71; out 0xe9, al")


@pytest.mark.parametrize(("memory", "extended"), [("16M", 15 * 1024), ("64M", 63 * 1024)])
def test_the_cmos_memory_says_how_much_ram_there_is(memory: str, extended: int) -> None:
    text = b"".join(map(read_cmos, range(0x15, 0x19))) + SHUT_DOWN
    report = kev.launch(source(elf(ASK + text, bits=64)), memory=memory, timeout=30)
    assert struct.unpack("<2H", printed(report)) == (640, extended)


@pytest.mark.parametrize("index", [0x00, 0x0F, 0x14, 0x19, 0x34, 0x97])
def test_nothing_else_is_in_the_cmos_memory(index: int) -> None:
    report = launch(read_cmos(index))
    assert report.output == f"710008 {index:x}\n".encode() + dump(MIB + 12)
    assert f"nothing to read from port 0x71 at index {index:#x}" in report.ending.message


@pytest.mark.parametrize(("text", "shown"), [("e6 71", "710000 0"), ("e4 70", "700008 0"), ("e5 71", "71000b 0")])
def test_the_cmos_memory_cannot_be_accessed_otherwise(text: str, shown: str) -> None:
    assert launch(code(text)).output == f"{shown}\n".encode() + dump(MIB + 8)


def test_the_index_is_the_last_one_that_was_written() -> None:
    text = code("b0 15 e6 70 b0 17 e6 70 e4 71 e6 e9 e4 71 e6 e9")
    assert printed(launch(text + SHUT_DOWN)) == bytes(2), "15,360 KiB above 1 MiB: the low byte, twice"


def test_a_triple_fault_ends_the_guest_with_a_dump() -> None:
    report = launch(code("cc ; int3, without an IDT"))
    assert report.output == dump(MIB + 8)
    assert "triple fault" in report.ending.message


def test_what_kernels_look_for_is_the_hosts_hardware() -> None:
    """Ports 0x379 (a printer that is ready), 0x3fd (COM1 can send), 0x64 (no key), 0x3d5, and 0x8a00, which nobody answers."""
    text = code("ba 79 03 00 00 ec a8 80 74 fe ; until it is ready")
    text += code("ba fd 03 00 00 ec a8 20 74 fe ; until it can send")
    text += code("e4 64 a8 01 75 fe ; no key")
    text += code("ba 00 8a 00 00 66 b8 00 8a 66 ef ; outw 0x8a00")
    assert launch(text + SHUT_DOWN).output == SHUT_DOWN_TEXT


@pytest.mark.parametrize("seed", [None, pytest.param(7, marks=pytest.mark.slow)])
def test_the_hosts_timer_interrupts_the_guest_as_vector_32(seed: int | None) -> None:
    count = code("4b 74 01 ; dec ebx; jz +1") + RETURN + SHUT_DOWN
    text = ticking(code("bb 03 00 00 00 fb eb fe ; mov ebx, 3; sti; 1: jmp 1b"), PRINT_TICK + END_OF_INTERRUPT + count)
    assert printed(launch(text, seed=seed)) == b"ttt"


def test_ticks_wake_a_guest_that_halts_with_interrupts_on() -> None:
    text = ticking(code("fb f4 fa ; sti; hlt; cli") + SHUT_DOWN, PRINT_TICK + END_OF_INTERRUPT + RETURN)
    assert printed(launch(text)) == b"t"


def test_a_tick_that_is_due_before_the_guest_begins_is_not_lost() -> None:
    text = ticking(code("fb eb fe ; sti; 1: jmp 1b"), SHUT_DOWN)
    machine = prepare(source(elf(ASK + text, bits=64)), seed=1)
    vm = machine.vm
    assert isinstance(vm.clock, VirtualClock)
    vm.clock.advance(15_000_000)
    while vm.ending is None and vm.instructions < 1000:
        vm.step(machine.scheduler)
    assert vm.ending == Ending.exited(0)
    machine.close()


def test_there_are_a_hundred_ticks_a_second() -> None:
    """Guest time between two ticks, in the handler, which is quick."""
    text = ticking(
        code("fb f4 f4 f4") + SHUT_DOWN,
        code("0f 31 e6 e9 c1 e8 08 e6 e9 c1 e8 08 e6 e9 c1 e8 08 e6 e9") + END_OF_INTERRUPT + RETURN,
    )
    first, second, third = struct.unpack("<3I", printed(launch(text, seed=1)))
    assert abs(second - first - 10_000_000) < 1000
    assert abs(third - second - 10_000_000) < 1000


SPIN = code("b9 80 a9 03 01 49 75 fd ; mov ecx, 17,017,216; 1: dec ecx; jnz 1b")
"""34 ms of a run with a seed, in which three ticks are due."""


@pytest.mark.slow
def test_a_tick_waits_until_interrupts_are_on_and_the_others_are_lost() -> None:
    text = ticking(SPIN + code("fb 90 90 fa ; sti; nop; nop; cli") + SHUT_DOWN, PRINT_TICK + END_OF_INTERRUPT + RETURN)
    assert printed(launch(text, seed=1)) == b"t"


@pytest.mark.slow
def test_no_tick_comes_before_the_last_one_was_ended() -> None:
    text = ticking(code("fb") + SPIN + SHUT_DOWN, PRINT_TICK + RETURN)
    assert printed(launch(text, seed=1)) == b"t"


def test_runs_with_a_seed_are_the_same_to_the_last_instruction() -> None:
    """How far the counter has come when the first tick is taken."""
    handler = code("89 c8 e6 e9 c1 e8 08 e6 e9 c1 e8 08 e6 e9 ; three bytes of ecx") + SHUT_DOWN
    text = ticking(code("31 c9 fb 41 eb fd ; xor ecx, ecx; sti; 1: inc ecx; jmp 1b"), handler)
    counts = {printed(launch(text, seed=5)) for _ in range(2)}
    assert len(counts) == 1
    assert counts != {bytes(3)}
