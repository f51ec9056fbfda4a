"""The real gdb, on kernels as people build them, and on the guests."""

from pathlib import Path

import pytest

from tests.gdb.debugging import NEEDS_GCC, NEEDS_GDB, build, debug, guest_file

pytestmark = [NEEDS_GDB, pytest.mark.slow]


@pytest.fixture(scope="module")
def higher64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("higher64", 64, tmp_path_factory.mktemp("higher64"))


@pytest.fixture(scope="module")
def paged32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("paged32", 32, tmp_path_factory.mktemp("paged32"))


@NEEDS_GCC
def test_a_kernel_of_the_higher_half_is_debugged_from_its_first_instruction(higher64: Path, tmp_path: Path) -> None:
    """Breakpoints in it are set, and its code is shown, before it has turned on paging."""
    commands = ["info symbol $pc", "x/i kernel", "break work", "continue", "backtrace", "print count", "finish", "continue"]
    run = debug(higher64, commands, symbols=higher64, folder=tmp_path)
    assert "_start in section .boot" in run.said
    assert "<kernel>:" in run.said
    assert "Breakpoint 1, work (count=" in run.said
    assert "#1 " in run.said
    assert " in kernel () at " in run.said
    assert run.values() == ["10"]
    assert "Value returned is $2 = 45" in run.said
    assert "exited normally" in run.said
    assert (run.printed, run.exit_code) == ("begin\ngood\n", 0)


@NEEDS_GCC
@pytest.mark.parametrize("options", [(), ("--seed", "1")], ids=["free", "seeded"])
def test_a_variable_is_watched(higher64: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    commands = ["break work", "continue", "watch counter", *["continue", "print counter"] * 3, "delete", "continue"]
    run = debug(higher64, commands, *options, symbols=higher64, folder=tmp_path)
    assert "Hardware watchpoint 2: counter" in run.said
    assert "Old value = 2\nNew value = 3" in run.said
    assert run.values() == ["3", "6", "12"]
    assert "exited normally" in run.said


@NEEDS_GCC
@pytest.mark.parametrize("options", [(), ("--seed", "1")], ids=["free", "seeded"])
def test_a_line_that_faults_is_stepped_over(higher64: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    commands = ["break touch", "continue", "next", "print faults", "next", "print faults", "print/x *place", "next", "info line"]
    run = debug(higher64, commands, *options, symbols=higher64, folder=tmp_path)
    assert run.values() == ["0", "1", "0x1234"]
    assert "page_fault" not in run.said


@NEEDS_GCC
def test_an_instruction_that_faults_is_stepped_over_also_if_its_handler_skips_it(paged32: Path, tmp_path: Path) -> None:
    at_each = ["continue", "stepi", "print faults", "output (int)($pc - (long)&access)"]
    run = debug(paged32, ["break *access", *at_each, *at_each, "continue"], symbols=paged32, folder=tmp_path)
    assert run.values() == ["1", "2"]
    assert "page_fault" not in run.said
    assert (run.printed, run.exit_code) == ("good\n", 0)


@NEEDS_GCC
@pytest.mark.parametrize("options", [(), ("--seed", "1")], ids=["free", "seeded"])
def test_a_step_does_not_end_in_the_handler_of_an_interrupt(paged32: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    """The interrupt comes behind the NOP after STI."""
    step = ["stepi", "print (int)((long)$pc - (long)&window)", "print interrupts"]
    run = debug(paged32, ["break *window", "continue", *step * 3, "continue"], *options, symbols=paged32, folder=tmp_path)
    assert run.values() == ["1", "0", "2", "1", "3", "1"]


@NEEDS_GCC
def test_steps_back_pass_over_interrupts(paged32: Path, tmp_path: Path) -> None:
    back = ["reverse-stepi", "print (int)((long)$pc - (long)&window)", "print interrupts"]
    commands = ["break *window", "continue", *["stepi"] * 3, *back * 3]
    run = debug(paged32, commands, "--seed", "1", symbols=paged32, folder=tmp_path)
    assert run.values() == ["2", "1", "1", "0", "0", "0"]


@NEEDS_GCC
def test_handlers_can_be_stepped_into(paged32: Path, tmp_path: Path) -> None:
    commands = ["break touch", "continue", "next", "next", "monitor handlers step", *["stepi"] * 3, "info symbol $pc"]
    run = debug(paged32, commands, symbols=paged32, folder=tmp_path)
    assert "enter_page_fault" in run.said


@NEEDS_GCC
def test_time_runs_backwards_from_line_to_line_and_to_what_was_written(higher64: Path, tmp_path: Path) -> None:
    commands = [
        *("break work", "continue", "next", "print i", "watch history[3]", "continue", "print sum", "print counter"),
        *("reverse-continue", "print history[3]", "print counter", "delete", "break touch", "reverse-continue"),
        *("print/x place", "print counter", "reverse-continue", "print/x place", "print counter"),
        *("delete", "break work", "continue", "print counter"),
        *("delete", "reverse-continue", "info symbol $pc", "continue"),
    ]
    run = debug(higher64, commands, "--seed", "5", symbols=higher64, folder=tmp_path)
    assert run.values()[1:] == ["6", "6", "0", "6", "0xffffffffc0200000", "1", "0xffffffffc0000000", "0", "2"]
    assert "No more reverse-execution history" in run.said
    assert "_start in section .boot" in run.said
    assert "exited normally" in run.said
    assert run.printed == "begin\ngood\n"


@NEEDS_GCC
def test_steps_back_pass_over_the_fault_that_steps_forward_passed_over(higher64: Path, tmp_path: Path) -> None:
    forward = ["next", "next", "next"]
    back = ["reverse-next", "print counter", "reverse-next", "print faults", "reverse-next", "print faults"]
    run = debug(higher64, ["break touch", "continue", *forward, *back], "--seed", "5", symbols=higher64, folder=tmp_path)
    assert run.values() == ["0", "0", "0"]
    assert "page_fault" not in run.said


@NEEDS_GCC
def test_registers_of_32_bits_are_shown_by_their_names(paged32: Path, tmp_path: Path) -> None:
    commands = ["break touch", "continue", "info registers eip cr0 cr3 eflags", "print $cs", "show architecture", "print $st0"]
    run = debug(paged32, commands, symbols=paged32, folder=tmp_path)
    assert "cr0            0x80000031          [ PE ET NE PG ]" in run.said
    assert "<touch" in run.said
    assert '(currently "i386")' in run.said


def test_code_of_16_bits_is_disassembled(tmp_path: Path) -> None:
    run = debug("bootsector", ["break *0x7c00", "continue", "x/2i $pc", "break *0x7c08", "continue"], folder=tmp_path)
    assert "ljmp   $0x0,$0x7c05" in run.said
    assert "Breakpoint 2, 0x00007c08" in run.said


def test_vcpus_are_threads(tmp_path: Path) -> None:
    commands = ["break work", "continue", "info threads", "thread apply all backtrace 1", "delete", "continue"]
    options = ("--smp", "3", "--seed", "3")
    run = debug("lost-update", commands, *options, symbols=guest_file("lost-update", tmp_path), folder=tmp_path)
    assert '"vCPU 2" (vCPU 2 at RIP' in run.said
    assert "hit Breakpoint 1, work (id=" in run.said
    assert run.said.count("\n#0 ") >= 3
    assert "exited normally" in run.said


def test_a_death_is_looked_into_and_gone_back_from(tmp_path: Path) -> None:
    commands = ["continue", *["print $rip", "reverse-stepi"] * 2, "print $rip", "continue", "continue"]
    run = debug("triple", commands, "--seed", "1", symbols=guest_file("triple", tmp_path), folder=tmp_path)
    assert "kev: vCPU 0 at RIP 0x10001f: triple fault" in run.said
    assert "SIGABRT" in run.said
    dead, again, before = run.values()
    assert dead == again != before
    assert "exited with code 03" in run.said
    assert run.exit_code == 3


def test_memory_and_registers_are_changed(tmp_path: Path) -> None:
    commands = [
        "break main",
        "continue",
        "set var counter = 100",
        "print counter",
        "set $rax = 5",
        "print $rax",
        "delete",
        "continue",
    ]
    run = debug("lost-update", commands, "--smp", "1", symbols=guest_file("lost-update", tmp_path), folder=tmp_path)
    assert run.values() == ["100", "5"]
    assert run.printed == "104 of 4 increments counted\n"


def test_killing_the_guest_ends_the_run(tmp_path: Path) -> None:
    run = debug("spin", ["stepi", "kill"], folder=tmp_path)
    assert "killed" in run.said
    assert "kev: stopped" in run.told
