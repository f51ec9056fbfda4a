"""What is said of guests that died."""

import importlib.util
import json
from pathlib import Path

import pytest

import kev
from kev.addressing import Gpa, Gva
from kev.machine.ending import EndingKind
from kev.machine.machine import Machine
from kev.pager.image import Segment
from kev.pager.pages import PageState
from kev.postmortem.death import Death, VcpuDeath
from tests.boot.images import MIB
from tests.guests.images import read_file
from tests.machine.code import SPIN, code
from tests.pager.elf import HEADER_SIZE, PROGRAM_HEADER_SIZE, ElfSymbol, add_symbols, build_elf

MOST_LINES = 42
WIDEST = 110


def death_of(name: str, command_line: str = "", *, strict_memory: bool = False) -> tuple[str, Death]:
    report = kev.launch(name, command_line=command_line, strict_memory=strict_memory)
    assert report.ending.kind is EndingKind.DIED
    assert report.death is not None
    return report.ending.message, report.death


def raised(vcpu: VcpuDeath) -> list[tuple[int, int | None]]:
    return [(exception.vector, exception.error_code) for exception in vcpu.exceptions]


@pytest.mark.parametrize(("name", "address"), [("crash", 0x7FFF_FFFF_F000), ("crash32", 0x8000_0000)])
def test_a_triple_fault_names_place_line_and_what_it_began_with(name: str, address: int) -> None:
    message, death = death_of(name)
    assert message.startswith("vCPU 0 at RIP 0x1")
    assert " in store (main.c:" in message
    assert ") inlined in die+0x" in message
    assert f"triple fault that began with exception 14 (page fault) at {address:#x}, error code 0x2: write, not present" in message
    assert death.culprit == 0
    (vcpu,) = death.vcpus
    assert raised(vcpu) == [(14, 2), (8, 0)]
    assert vcpu.walk is not None
    assert vcpu.walk.linear == address
    assert vcpu.walk.stopped is not None
    assert vcpu.walk.stopped.endswith("is not present")
    if name == "crash32":
        assert vcpu.undelivered == ("no IDT has been loaded: there is real mode's table at 0x0, with the limit 0x3ff",)
    else:
        assert len(vcpu.undelivered) == 2
        assert all("the IDT's limit 0x0" in reason for reason in vcpu.undelivered)


def test_the_chain_of_exceptions_is_told_to_its_end() -> None:
    message, death = death_of("triple")
    assert message == "vCPU 0 at RIP 0x10001f: triple fault that began with exception 6 (invalid opcode)"
    assert [vector for vector, _ in raised(death.vcpus[0])] == [6, 13, 8]
    assert [reason.rpartition(",")[0] for reason in death.vcpus[0].undelivered] == [
        "the IDT's limit 0x0 is below the end of gate 6",
        "the IDT's limit 0x0 is below the end of gate 13",
        "the IDT's limit 0x0 is below the end of gate 8",
    ]


def test_a_call_of_the_bios_is_no_exception_that_was_not_delivered(tmp_path: Path) -> None:
    code = bytes.fromhex("31c0 8ed8 b488 cd15 0f011e207c 66b800200000 0f22e0")
    """XOR AX, AX; MOV DS, AX; MOV AH, 88h; INT 15h; LIDT [7C20h]; MOV EAX, 2000h; MOV CR4, EAX."""
    (tmp_path / "sector").write_bytes(code.ljust(510, b"\0") + b"\x55\xaa")
    _, death = death_of(str(tmp_path / "sector"))
    (vcpu,) = death.vcpus
    assert vcpu.exceptions[0].text == "interrupt 0x15"
    assert [reason.rpartition(",")[0] for reason in vcpu.undelivered] == [
        "the IDT's limit 0x0 is below the end of gate 13",
        "the IDT's limit 0x0 is below the end of gate 8",
    ]


def test_a_jump_to_where_nothing_is_shows_the_way_there() -> None:
    message, death = death_of("crash", "jump")
    assert message.startswith("vCPU 0 at RIP 0xc0000000: there is no page")
    (vcpu,) = death.vcpus
    assert vcpu.code.code == b""
    assert vcpu.walk is not None
    assert vcpu.walk.stopped is None
    assert str(vcpu.walk.page) == "page 0xc0000000: there is no memory and no device"


def test_a_store_to_where_no_memory_is_names_function_and_line() -> None:
    message, death = death_of("crash", "nowhere", strict_memory=True)
    assert ") inlined in die+0x" in message
    assert "there is no page at guest-physical address 0xc0000000" in message
    assert death.vcpus[0].exceptions == ()


def test_halted_for_ever_names_function_and_line() -> None:
    message, death = death_of("crash", "halt")
    assert message.startswith("halted for ever: vCPU 0 at RIP 0x")
    assert "in halt_forever (cpu.h:" in message
    assert "halted with interrupts off; no timer is set" in message
    assert death.culprit is None
    assert death.vcpus[0].activity == "halted with interrupts off"


def test_who_is_halted_is_at_the_hlt_and_not_in_the_function_behind_it(tmp_path: Path) -> None:
    text = code("f4 ; hlt") + SPIN
    segment = Segment(Gpa(MIB), Gva(MIB), HEADER_SIZE[32] + PROGRAM_HEADER_SIZE[32], len(text), len(text), 5)
    symbols = [ElfSymbol("stop", MIB, 1), ElfSymbol("next", MIB + 1, len(SPIN))]
    image = tmp_path / "kernel"
    image.write_bytes(add_symbols(build_elf([segment], MIB, text, 32), symbols).data)
    report = kev.launch(image)
    assert report.ending.message.startswith("halted for ever: vCPU 0 at RIP 0x100001 in stop+0x1 halted with interrupts off")
    assert report.death is not None
    (vcpu,) = report.death.vcpus
    assert (vcpu.place.function, vcpu.backtrace.frames[0].place.function) == ("stop", "stop")


def test_a_timeout_says_where_every_vcpu_is(tmp_path: Path) -> None:
    report = kev.launch("crash", command_line="spin", timeout=0.2, vcpus=2)
    assert report.ending.kind is EndingKind.TIMED_OUT
    assert report.ending.message.startswith("timed out after 0.2 s: vCPU 0 at RIP 0x")
    assert report.ending.message.endswith(", vCPU 1 waits for a start-up IPI")
    assert report.death is not None
    assert [frame.place.function for frame in report.death.vcpus[0].backtrace.frames][-2:] == ["main", "long_mode"]
    assert "backtrace" not in report.death.vcpus[1].as_dict()


def test_a_guest_that_ends_itself_leaves_no_such_report() -> None:
    report = kev.launch("hypercalls")
    assert report.death is None
    assert "death" not in report.as_dict()


@pytest.mark.parametrize("name", ["crash", "crash32"])
@pytest.mark.parametrize("how", ["fault", "undefined", "jump", "nowhere", "halt", "deep"])
def test_it_fits_on_a_screen(name: str, how: str) -> None:
    _, death = death_of(name, how)
    lines = death.as_text().splitlines()
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= WIDEST


def test_it_is_json_too() -> None:
    report = kev.launch("crash", command_line="fault")
    found = json.loads(json.dumps(report.as_dict()))["death"]
    assert found["culprit"] == 0
    (vcpu,) = found["vcpus"]
    assert vcpu["backtrace"]["frames"][1]["function"] == "descend"
    assert vcpu["registers"]["cs"]["selector"] == 8
    assert vcpu["exceptions"][0]["name"] == "exception 14 (page fault)"
    assert vcpu["walk"]["entries"][0]["level"] == "PML4E"


def test_looking_loads_nothing() -> None:
    counts = []

    def look(machine: Machine) -> None:
        before = machine.vm.pager.statistics.loads
        pages = list(machine.vm.pager.pages.runs(PageState.PRESENT))
        machine.post_mortem.death().as_text()
        machine.places()
        assert list(machine.vm.pager.pages.runs(PageState.PRESENT)) == pages
        counts.append(machine.vm.pager.statistics.loads - before)

    kev.launch("crash", at_end=look)
    assert counts == [0]


@pytest.mark.skipif(importlib.util.find_spec("capstone") is not None, reason="Capstone is installed")
def test_code_is_bytes_without_a_disassembler() -> None:
    _, death = death_of("crash", "undefined")
    (line,) = death.vcpus[0].code.as_text()
    assert "<0f> 0b" in line


def test_code_is_instructions_with_a_disassembler() -> None:
    pytest.importorskip("capstone")
    _, death = death_of("crash", "undefined")
    code = death.vcpus[0].code
    assert code.instructions[0] == (code.address, "ud2")
    assert code.as_text()[0] == f"> {code.address:#x}: ud2"


@pytest.mark.parametrize("name", ["crash", "crash32"])
def test_an_image_whose_debug_information_is_stripped_dies_with_symbols_only(name: str, tmp_path: Path) -> None:
    data = bytearray(read_file(name))
    # Without its section headers a kernel has neither symbols nor debug information.
    bits = 32 * data[4]
    at, size = (32, 4) if bits == 32 else (40, 8)
    data[at : at + size] = bytes(size)
    counts = 48 if bits == 32 else 60
    data[counts : counts + 4] = bytes(4)
    image = tmp_path / name
    image.write_bytes(data)
    report = kev.launch(image)
    assert report.death is not None
    (vcpu,) = report.death.vcpus
    assert vcpu.place.text == ""
    assert report.ending.message.startswith(f"vCPU 0 at RIP {vcpu.registers.rip:#x}: triple fault")
    assert [exception.vector for exception in vcpu.exceptions] == [14, 8]
