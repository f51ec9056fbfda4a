"""Pages that devices stand behind: what a device is told of each access (`AmdvEngine.map_window`)."""

import struct
from collections.abc import Mapping

import pytest

from kev.addressing import PAGE_SIZE, Gpa
from kev.exits import Access, EptViolation, Exit, MmioRead, MmioWrite, Vmcall
from kev.page_tables.mapping import Permissions
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Answers, Cpu
from tests.machine.modes import LONG, PROTECTED, TEXT, cpu_in

DEVICE = 0xE0000
RAM = 0x5000
SLICES = pytest.mark.parametrize("slice_length", [None, 1])


class Registers:
    """A device of eight 64-bit registers."""

    def __init__(self) -> None:
        self.bytes = bytearray(range(64))

    @property
    def answers(self) -> Answers:
        return {MmioRead: self.load, MmioWrite: self.store}

    def load(self, exit: Exit) -> int:
        assert isinstance(exit, MmioRead)
        offset = exit.gpa - DEVICE
        return int.from_bytes(self.bytes[offset : offset + exit.size], "little")

    def store(self, exit: Exit) -> int:
        assert isinstance(exit, MmioWrite)
        offset = exit.gpa - DEVICE
        self.bytes[offset : offset + exit.size] = exit.value.to_bytes(exit.size, "little")
        return 0


def run(text: str, slice_length: int | None, contents: Mapping[int, bytes] | None = None) -> tuple[Cpu, Registers]:
    """Runs 64-bit code with RDI pointing to the device and RSI to RAM."""
    device = Registers()
    setup = b"\xbf" + struct.pack("<I", DEVICE) + b"\xbe" + struct.pack("<I", RAM)
    with cpu_in(LONG, setup + code(text) + VMCALL, contents, answers=device.answers) as cpu:
        cpu.table.map_device_page(DEVICE, cpu.engine.map_window(Gpa(DEVICE), PAGE_SIZE))
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rip == TEXT + 10 + len(code(text))
    return cpu, device


@SLICES
@pytest.mark.parametrize(
    ("text", "size"),
    [("8a 47 08", 1), ("66 8b 47 08", 2), ("8b 47 08", 4)],
)
def test_a_load_is_told_with_its_size(text: str, size: int, slice_length: int | None) -> None:
    cpu, _ = run("31 c0 ; xor eax, eax\n" + text, slice_length)
    assert cpu.told(MmioRead) == [MmioRead(Gpa(DEVICE + 8), size)]
    assert cpu.vcpu.rax == int.from_bytes(range(8, 8 + size), "little")


@SLICES
@pytest.mark.parametrize(
    ("text", "size"),
    [("88 47 08", 1), ("66 89 47 08", 2), ("89 47 08", 4)],
)
def test_a_store_is_told_once_with_its_size_and_value(text: str, size: int, slice_length: int | None) -> None:
    cpu, _ = run("48 b8 88 77 66 55 44 33 22 11 ; mov rax, 0x1122334455667788\n" + text, slice_length)
    assert cpu.told(MmioWrite) == [MmioWrite(Gpa(DEVICE + 8), size, 0x1122334455667788 & (1 << 8 * size) - 1)]
    assert not cpu.told(MmioRead)


@SLICES
def test_eight_bytes_are_told_as_two_halves_the_lower_first(slice_length: int | None) -> None:
    cpu, _ = run("48 8b 47 08 48 89 47 10 ; mov rax, [rdi+8]; mov [rdi+16], rax", slice_length)
    assert cpu.told(MmioRead) == [MmioRead(Gpa(DEVICE + 8), 4), MmioRead(Gpa(DEVICE + 12), 4)]
    assert cpu.told(MmioWrite) == [MmioWrite(Gpa(DEVICE + 16), 4, 0x0B0A0908), MmioWrite(Gpa(DEVICE + 20), 4, 0x0F0E0D0C)]
    assert cpu.vcpu.rax == 0x0F0E0D0C0B0A0908


@SLICES
@pytest.mark.parametrize(
    ("name", "text", "after"),
    [
        ("ADD", "83 47 08 05 ; add dword [rdi+8], 5", 0x0B0A090D),
        ("LOCK ADD", "f0 83 47 08 05 ; lock add dword [rdi+8], 5", 0x0B0A090D),
        ("XCHG", "b8 78 56 34 12 87 47 08 ; mov eax, 0x12345678; xchg [rdi+8], eax", 0x12345678),
        ("BTS", "0f ba 6f 08 1f ; bts dword [rdi+8], 31", 0x8B0A0908),
        ("LOCK CMPXCHG", "b8 08 09 0a 0b bb 01 00 00 00 f0 0f b1 5f 08 ; mov eax, old; mov ebx, 1; lock cmpxchg [rdi+8], ebx", 1),
        ("LOCK INC", "f0 ff 47 08 ; lock inc dword [rdi+8]", 0x0B0A0909),
    ],
)
def test_an_instruction_that_reads_and_writes_does_each_once(name: str, text: str, after: int, slice_length: int | None) -> None:
    cpu, device = run(text, slice_length)
    assert cpu.told(MmioRead) == [MmioRead(Gpa(DEVICE + 8), 4)]
    assert cpu.told(MmioWrite) == [MmioWrite(Gpa(DEVICE + 8), 4, after)]
    assert int.from_bytes(device.bytes[8:12], "little") == after


@SLICES
def test_strings_are_copied_from_a_device_and_to_it(slice_length: int | None) -> None:
    text = "88 06 ; mov [rsi], al\nb9 04 00 00 00 56 57 48 87 f7 f3 a5 ; mov ecx, 4; push rsi; push rdi; xchg rsi, rdi; rep movsd"
    text += "\n5f 5e 48 83 c7 20 b9 04 00 00 00 f3 a5 ; pop rdi; pop rsi; add rdi, 32; mov ecx, 4; rep movsd"
    cpu, device = run(text, slice_length)
    assert bytes(cpu.page(RAM)[:16]) == bytes(range(16))
    assert device.bytes[32:48] == bytes(range(16))
    assert len(cpu.told(MmioRead)) == len(cpu.told(MmioWrite)) == 4


@pytest.mark.parametrize("slice_length", [1, 2, 1000])
def test_the_counts_of_instructions_do_not_depend_on_devices(slice_length: int) -> None:
    device_run, _ = run("89 47 08 8b 47 08 ; mov [rdi+8], eax; mov eax, [rdi+8]", slice_length)
    memory_run, _ = run("89 46 08 8b 46 08 ; mov [rsi+8], eax; mov eax, [rsi+8]", slice_length)
    assert device_run.vcpu.instructions == memory_run.vcpu.instructions


# A page of memory that the guest reads, and that exits when it is written to: what `kev.vmexit.violation` makes of a window.


@SLICES
def test_a_violation_by_a_store_says_that_the_page_is_there(slice_length: int | None) -> None:
    with cpu_in(PROTECTED, code("a1 00 00 0e 00 a3 04 00 0e 00 ; mov eax, [DEVICE]; mov [DEVICE+4], eax")) as cpu:
        page = cpu.memory.allocate()
        cpu.memory.view[page : page + 4] = b"\x78\x56\x34\x12"
        cpu.table.map_page(Gpa(DEVICE), page, Permissions.RX)
        assert cpu.run(slice_length) == EptViolation(Gpa(DEVICE + 4), Access.WRITE, present=True)
        assert cpu.vcpu.rax == 0x12345678
        assert cpu.vcpu.rip == TEXT + 5
