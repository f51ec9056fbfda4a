"""Backtraces of guests of every kind of code."""

from itertools import pairwise
from pathlib import Path

import pytest
from elftools.dwarf.callframe import FDE
from hypothesis import given, settings
from hypothesis import strategies as st

import kev
from kev.pager.kernel import KernelVmPager
from kev.postmortem.backtrace import MOST_FRAMES, Backtrace, backtrace
from kev.postmortem.loaded_memory import LoadedMemory
from kev.postmortem.places import Places
from kev.postmortem.registers import VcpuRegisters
from kev.postmortem.sections import DebugSections
from kev.postmortem.unwind_table import UnwindTable
from tests.examples import examples
from tests.guests.images import elf_file, read_file
from tests.machine.code import code
from tests.pager.machine import TEXT
from tests.pager.sources import BytesSource
from tests.postmortem.dwarf import elf_with_sections
from tests.postmortem.guest_memory import pager_with, vcpu, words

STACK = 0x8000
CODE = int(TEXT.paddr)
UNLOADED = 0x9000


def trace(pager: KernelVmPager, registers: VcpuRegisters) -> Backtrace:
    return backtrace(LoadedMemory(pager), Places(pager.image), registers)


def addresses(found: Backtrace) -> list[int]:
    return [frame.address for frame in found.frames]


def functions(name: str, command_line: str) -> list[str | None]:
    report = kev.launch(name, command_line=command_line)
    assert report.death is not None
    return [frame.place.function for frame in report.death.vcpus[0].backtrace.frames]


@pytest.mark.parametrize("how", ["fault", "undefined", "nowhere", "halt"])
def test_by_frame_pointers(how: str) -> None:
    assert functions("crash", how) == ["die", "descend", "descend", "main", "long_mode"]


@pytest.mark.parametrize("how", ["fault", "undefined", "nowhere", "halt"])
def test_by_call_frame_information(how: str) -> None:
    assert functions("crash32", how) == ["die", "descend", "descend", "main", "_start"]


@pytest.mark.parametrize(("name", "first"), [("crash", "long_mode"), ("crash32", "_start")])
def test_a_jump_to_nowhere_was_a_call_from_somewhere(name: str, first: str) -> None:
    assert functions(name, "jump") == [None, "die", "descend", "descend", "main", first]


def test_what_an_exception_has_interrupted_is_behind_its_handler() -> None:
    report = kev.launch("crash", command_line="handler")
    assert report.death is not None
    frames = report.death.vcpus[0].backtrace.frames
    assert [(frame.place.function, frame.interrupted) for frame in frames] == [
        ("halt_in_handler", False),
        ("dispatch_interrupt", False),
        ("handle_interrupt", False),
        ("die", True),
        ("descend", False),
        ("descend", False),
        ("main", False),
        ("long_mode", False),
    ]


def test_there_are_no_more_than_so_many_frames() -> None:
    report = kev.launch("crash", command_line="deep")
    assert report.death is not None
    found = report.death.vcpus[0].backtrace
    assert len(found.frames) == MOST_FRAMES
    assert found.as_text()[-1] == f"no more: there are more than {MOST_FRAMES}"


REAL_MODE = code("""
    31 ed       ; xor bp, bp
    bc 00 70    ; mov sp, 0x7000
    e8 02 00    ; call first
    fa f4       ; cli, hlt
    55          ; first: push bp
    89 e5       ; mov bp, sp
    e8 02 00    ; call second
    fa f4       ; cli, hlt
    55          ; second: push bp
    89 e5       ; mov bp, sp
    fa f4       ; cli, hlt
""")


def test_in_real_mode(tmp_path: Path) -> None:
    image = tmp_path / "sector"
    image.write_bytes(REAL_MODE.ljust(510, b"\0") + b"\x55\xaa")
    report = kev.launch(image)
    assert report.death is not None
    vcpu = report.death.vcpus[0]
    assert vcpu.registers.bits == 16
    assert addresses(vcpu.backtrace) == [0x7C00 + 23, 0x7C00 + 16, 0x7C00 + 8]
    assert vcpu.backtrace.stopped is None


def test_addresses_count_from_the_segments_bases() -> None:
    pager = pager_with({0x2_0100: words(0x120, 0x55, 0, 0, size=2), 0x2_0120: words(0, 0, size=2)})
    registers = vcpu(bits=16, rip=0x10, rsp=0x100, rbp=0x100, bases={"cs": 0x1_0000, "ss": 0x2_0000})
    found = trace(pager, registers)
    assert addresses(found) == [0x1_0010, 0x1_0055]
    assert [frame.stack for frame in found.frames] == [0x2_0100, 0x2_0104]


def test_a_stack_that_is_not_loaded_is_said_and_not_loaded() -> None:
    pager = pager_with({CODE: bytes(16)})
    loads = pager.statistics.loads
    found = trace(pager, vcpu(rip=CODE, rsp=UNLOADED, rbp=UNLOADED))
    assert addresses(found) == [CODE]
    assert found.stopped == f"the page at gpa {UNLOADED:#x} is not loaded"
    assert pager.statistics.loads == loads


@pytest.mark.parametrize(
    ("pointer", "why"),
    [
        (0, None),
        (STACK - 16, f"the frame pointer {STACK - 16:#x} is not above the stack pointer {STACK:#x}"),
        (STACK + (8 << 20), f"the frame pointer {STACK + (8 << 20):#x} is not above the stack pointer {STACK:#x}"),
    ],
)
def test_a_frame_pointer_that_leads_nowhere_ends_it(pointer: int, why: str | None) -> None:
    pager = pager_with({STACK: bytes(0x800)})
    found = trace(pager, vcpu(rip=CODE + 0x10, rsp=STACK, rbp=pointer))
    assert (addresses(found), found.stopped) == ([CODE + 0x10], why)


def pushed(rip: int, *, flags: int = 0x46, selector: int = 8, stack: int = STACK) -> bytes:
    """What the CPU pushes for an interrupt in 64-bit code."""
    return words(rip, selector, flags, stack, 0x10)


def test_frames_that_go_round_in_a_circle_end() -> None:
    pager = pager_with({STACK: pushed(CODE + 0x20), CODE: bytes(0x100)})
    found = trace(pager, vcpu(rip=CODE + 0x10, rsp=STACK, rbp=0))
    assert addresses(found) == [CODE + 0x10, CODE + 0x20, CODE + 0x20]
    assert found.stopped == "the frames go round in a circle"


def test_a_program_that_was_interrupted_is_the_last_frame() -> None:
    pager = pager_with({STACK: words(1, 2) + pushed(0x40_0000, selector=0x2B, stack=0x7000)})
    found = trace(pager, vcpu(rip=CODE + 0x10, rsp=STACK, rbp=0))
    assert [(frame.address, frame.user) for frame in found.frames] == [(CODE + 0x10, False), (0x40_0000, True)]
    assert found.stopped is None


@pytest.mark.parametrize("flags", [0x44, 0x4E, 1 << 40 | 2])
def test_what_cannot_be_flags_was_not_pushed_by_the_cpu(flags: int) -> None:
    pager = pager_with({STACK: pushed(CODE + 0x20, flags=flags) + bytes(0x800)})
    assert addresses(trace(pager, vcpu(rip=CODE + 0x10, rsp=STACK, rbp=0))) == [CODE + 0x10]


@pytest.mark.parametrize("bits", [16, 32, 64])
@given(
    stack=st.binary(min_size=256, max_size=256), rsp=st.integers(0, 0x100), rbp=st.integers(0, 0x200), rip=st.integers(0, 0x2000)
)
def test_any_stack_comes_to_an_end(bits: int, stack: bytes, rsp: int, rbp: int, rip: int) -> None:
    pager = pager_with({STACK: stack + bytes(0x300), CODE: bytes(0x100)})
    registers = vcpu(bits=bits, rip=CODE + rip, rsp=STACK + rsp, rbp=STACK + rbp)
    found = trace(pager, registers)
    assert 1 <= len(found.frames) <= MOST_FRAMES
    assert len(found.as_text()) >= len(found.frames)


def unwind_table(image: bytes) -> UnwindTable:
    return UnwindTable(DebugSections(BytesSource(image)))


def test_rules_are_those_that_another_reader_finds() -> None:
    table = unwind_table(read_file("crash32"))
    entries = [entry for entry in elf_file("crash32").get_dwarf_info().CFI_entries() if isinstance(entry, FDE)]
    assert entries
    for entry in entries:
        rows = entry.get_decoded().table
        for row, following in pairwise([*rows, {"pc": entry["initial_location"] + entry["address_range"]}]):
            for address in (row["pc"], following["pc"] - 1):
                rule = table.at(address)
                assert rule is not None
                assert (rule.cfa_register, rule.cfa_offset) == (row["cfa"].reg, row["cfa"].offset)
                saved = {register: found.arg for register, found in row.items() if isinstance(register, int)}
                assert rule.saved == saved


def test_code_without_call_frame_information_has_no_rule() -> None:
    assert unwind_table(read_file("crash32")).at(0x10) is None


@given(section=st.binary(max_size=200), name=st.sampled_from([".debug_frame", ".eh_frame"]), address=st.integers(0, 1 << 64))
def test_bytes_that_are_no_call_frame_information_have_no_rules(section: bytes, name: str, address: int) -> None:
    unwind_table(elf_with_sections({name: section})).at(address)


@settings(max_examples=examples(200))
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=8), at=st.integers(0, 0x200))
def test_damaged_call_frame_information_costs_frames_and_nothing_else(changes: list[tuple[int, int]], at: int) -> None:
    image = read_file("crash32")
    sections = DebugSections(BytesSource(image))
    frames = bytearray(sections.get(".debug_frame") or b"")
    assert frames
    for position, byte in changes:
        frames[position % len(frames)] = byte
    unwind_table(elf_with_sections({".debug_frame": bytes(frames)}, bits=32)).at(0x10_0000 + at)
