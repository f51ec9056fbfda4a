"""`kev run`, as a person at the prompt sees it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kev.cli.main import kev
from tests.boot.images import MIB, elf, multiboot1_header
from tests.cli.programs import kernel
from tests.machine.code import code


def run(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["run", *arguments], prog_name="kev")


def run_with_report(folder: Path, *arguments: str) -> tuple[Result, dict[str, Any]]:
    report = folder / "report.json"
    result = run(*arguments, "--report", str(report))
    return result, json.loads(report.read_text(encoding="utf-8"))


def test_the_default_guest_boots_to_its_hello() -> None:
    result = run()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "gKeOS, a KeOS-style guest kernel"
    assert lines[-1] == "Hello guest os!"


def test_only_the_pages_that_are_touched_are_loaded(tmp_path: Path) -> None:
    result, report = run_with_report(tmp_path, "gKeOS", "-m", "64M")
    assert report["ram_pages"] == 64 * 256
    assert 0 < report["pages_loaded"] < report["image_pages"] / 4
    assert report["violations"] == report["pages_loaded"]
    assert f"kev: loaded {report['pages_loaded']} of 16,384 pages" in result.stderr


def test_the_report_has_the_figures_of_the_run(tmp_path: Path) -> None:
    _, report = run_with_report(tmp_path, "gKeOS")
    assert report["exit_code"] == 0
    assert report["ending"]["kind"] == "exited"
    assert report["exits"]["EptViolation"] == report["violations"]
    assert report["exits"]["Vmcall"] == 2
    assert 0 < report["launch_ms"] <= report["first_output_ms"] <= report["run_ms"]


def test_the_exit_code_is_the_guests() -> None:
    result = run("hypercalls")
    assert result.exit_code == 42
    assert result.stdout == "printed by a hypercall\n"


@pytest.mark.parametrize(
    ("instructions", "exit_code", "said"),
    [
        ("b800000000bf000100000f01c1", 255, "exit code 256, which shells see as 255, by the guest"),
        ("b800000000bf2a0100000f01c1", 42, "exit code 298, which shells see as 42, by the guest"),
        ("b800000000bf030000000f01c1", 3, "exit code 3, by the guest"),
        ("b001e6f4ebfe", 3, "exit code 3, by the guest"),
        ("30c0e6f4ebfe", 0, "exit code 0, by the guest"),
        ("b0fee664ebfe", 0, "reset, exit code 0, by the guest"),
        ("b003e692ebfe", 0, "reset, exit code 0, by the guest"),
        ("66baf90cb006eeebfe", 0, "reset, exit code 0, by the guest"),
        ("0f0b", 3, "exit code 3, by kev: the guest died"),
    ],
)
def test_it_is_said_whose_the_exit_code_is_and_no_failure_is_a_success(
    tmp_path: Path, instructions: str, exit_code: int, said: str
) -> None:
    image = tmp_path / "kernel"
    image.write_bytes(kernel(bytes.fromhex(instructions)))
    result = run(str(image))
    assert result.exit_code == exit_code
    assert f"kev: {said}" in result.stderr.splitlines()


def test_a_limit_says_that_the_exit_code_is_kevs() -> None:
    result = run("spin", "--timeout", "0.1")
    assert result.exit_code == 124
    assert "kev: exit code 124, by kev: it came to a limit" in result.stderr.splitlines()


def test_what_looks_wrong_with_how_an_image_is_booted_is_said_before_it_runs(tmp_path: Path) -> None:
    image = tmp_path / "kernel"
    image.write_bytes(elf(b"\xf4", base=MIB))
    result = run(str(image))
    assert result.stderr.startswith(
        f"kev: warning: {image}: it has no Multiboot header, no PVH note and nothing of Linux: "
        "it is entered as KeOS is, in 32-bit mode at 0x100000; --boot says otherwise\n"
    )
    assert "warning" not in run(str(image), "--boot", "keos").stderr


def test_what_decided_how_an_image_is_booted_is_an_event_of_the_log() -> None:
    command = [sys.executable, "-m", "kev", "run", "mb1", "--log-level", "info"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    event = result.stderr.splitlines()[0]
    for field in ("image=mb1", "protocol=multiboot1", "because='it was chosen'", "mode=32", "abi=kev"):
        assert field in event


def test_a_halt_with_interrupts_off_ends_the_run() -> None:
    result = run("halt")
    assert result.exit_code == 3
    assert "halted for ever: vCPU 0 at RIP 0x10001a halted with interrupts off" in result.stderr


def test_a_jump_to_nowhere_names_the_vcpu_and_the_address() -> None:
    result = run("wild")
    assert result.exit_code == 3
    assert "vCPU 0 at RIP 0xc0000000" in result.stderr
    assert "no page at guest-physical address 0xc0000000" in result.stderr


def test_a_triple_fault_shows_the_guests_registers() -> None:
    result = run("triple")
    assert result.exit_code == 3
    assert "triple fault that began with exception 6 (invalid opcode)" in result.stderr
    assert "cs 0010" in result.stderr


def test_a_timeout_ends_a_guest_that_spins_with_interrupts_off_and_the_report_is_written(tmp_path: Path) -> None:
    result, report = run_with_report(tmp_path, "spin", "--timeout", "0.1")
    assert result.exit_code == 124
    assert "timed out after 0.1 s: vCPU 0 at RIP 0x100019\n" in result.stderr
    assert report["ending"]["kind"] == "timed out"


def test_a_processor_that_is_started_but_not_there_is_logged_once(tmp_path: Path) -> None:
    image = tmp_path / "kernel"
    start = code("""
        c7 05 10 03 e0 fe 00 00 00 03       ; mov dword ptr [0xfee00310], 3 << 24
        c7 05 00 03 e0 fe 00 45 00 00       ; mov dword ptr [0xfee00300], 0x4500: INIT
        c7 05 00 03 e0 fe 08 46 00 00       ; mov dword ptr [0xfee00300], 0x4608: start-up
        b0 00  e6 f4                        ; mov al, 0; out 0xf4, al
    """)
    image.write_bytes(elf(multiboot1_header() + start, entry=MIB + 12))
    command = [sys.executable, "-m", "kev", "run", str(image), "--smp", "3", "--log-level", "warning"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert result.stderr.count("the guest starts a processor that is not there: --smp N makes more") == 1
    assert "apic_id=3 vcpus=3" in result.stderr


def test_ctrl_c_ends_a_guest_that_loops() -> None:
    command = [sys.executable, "-m", "kev", "run", "loop"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"<"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert b"interrupted: vCPU 0 at RIP 0x" in errors
    assert b"Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-image"], "no-such-image: there is no such file, and no such guest"),
        (["gKeOS", "-m", "1M"], "RAM of 1024 KiB ends at 0x100000: the kernel ends at"),
        (["gKeOS", "-m", "many"], "kev: --memory: 'many': it must be a size such as 256M or 4G"),
        (["gKeOS", "--smp", "65"], "kev: --smp: '65': a machine has 1 to 64 vCPUs"),
        (["gKeOS", "--report", "/no/such/folder/report.json"], "there is no folder /no/such/folder"),
        ([__file__], "test_run.py"),
    ],
)
def test_a_users_mistake_is_one_clear_message(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_the_version_is_printed_without_loading_the_hypervisor() -> None:
    script = "import sys; sys.argv = ['kev', '--version']; from kev.__main__ import main; main(); print(sorted(sys.modules))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    version, modules = output.splitlines()
    assert version.startswith("kev ")
    assert not {"'unicorn'", "'trio'", "'click'", "'attr'"} & set(modules.strip("[]").split(", "))


def test_a_guest_that_dies_leaves_a_report_in_words_and_in_json(tmp_path: Path) -> None:
    result, report = run_with_report(tmp_path, "crash")
    assert result.exit_code == 3
    first, second = result.stderr.splitlines()[:2]
    assert first.startswith("kev: vCPU 0 at RIP 0x")
    assert second == "vCPU 0, active, 64-bit code at CPL 0:"
    assert "  backtrace:" in result.stderr.splitlines()
    assert report["death"]["vcpus"][0]["place"]["function"] == "die"


def test_a_dump_is_written_unless_the_guest_ends_itself(tmp_path: Path) -> None:
    assert run("crash", "--dump", str(tmp_path / "core")).exit_code == 3
    assert (tmp_path / "core").is_file()
    assert run("hypercalls", "--dump", str(tmp_path / "none")).exit_code == 42
    assert not (tmp_path / "none").exists()


def test_where_no_dump_can_be_written_is_said_before_the_run(tmp_path: Path) -> None:
    result = run("crash", "--dump", str(tmp_path / "nowhere" / "core"))
    assert result.exit_code == 2
    assert f"there is no folder {tmp_path / 'nowhere'}" in result.stderr
    assert "triple fault" not in result.stderr


@pytest.mark.parametrize(("switch", "what"), [("--dump", "a core file"), ("--snapshot-at", "a snapshot")])
@pytest.mark.parametrize("place", ["fifo", "/dev/null", "/dev/stdout"])
def test_a_place_that_takes_no_whole_file_is_refused_before_the_run(tmp_path: Path, switch: str, what: str, place: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    file = str(tmp_path / place)
    result = run("hypercalls", switch, *(["instructions:1"] if what == "a snapshot" else []), file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"kev: {file}: is no regular file, which {what} has to be\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
@pytest.mark.parametrize("switches", [["--report"], ["--trace"], ["--screenshot"], ["--paging", "record=/dev/full", "--report"]])
def test_a_file_that_cannot_be_written_does_not_hide_how_the_guest_died(switches: list[str]) -> None:
    result = run("crash", *switches, "/dev/full")
    assert result.exit_code == 2
    assert "triple fault" in result.stderr
    assert "exit code 3, by kev: the guest died" in result.stderr
    assert result.stderr.splitlines()[-1] == "kev: /dev/full: cannot be written: No space left on device"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{kernel}", "--report", "{kernel}"], "--report: {kernel}: is the image of the run, and would be replaced"),
        (["{kernel}", "--trace", "{link}"], "--trace: {link}: is the image of the run, and would be replaced"),
        (["{kernel}", "--paging", "record={kernel}"], "--paging: {kernel}: is the image of the run, and would be replaced"),
        (["echo", "--disk", "{kernel}", "--dump", "{kernel}"], "--dump: {kernel}: is a disk of the run, and would be replaced"),
        (["echo", "--trace", "{new}", "--report", "{new}"], "--trace: {new}: is what --report writes, and would be replaced"),
    ],
)
def test_no_file_of_a_run_takes_the_place_of_another(tmp_path: Path, words: list[str], message: str) -> None:
    places = {name: str(tmp_path / name) for name in ("kernel", "link", "new")}
    Path(places["kernel"]).write_bytes(kernel(b"\xf4"))
    os.symlink("kernel", places["link"])
    result = run(*(word.format(**places) for word in words))
    assert (result.exit_code, result.stderr) == (2, f"kev: {message.format(**places)}\n")
    assert Path(places["kernel"]).read_bytes() == kernel(b"\xf4")
    assert not Path(places["new"]).exists()
