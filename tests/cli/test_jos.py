"""`kev jos`, as a person at the prompt sees it."""

import os
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kev.cli.main import kev
from tests.envs.exchange import exchanging
from tests.envs.guest import REQUEST, Program
from tests.machine.code import code


def run(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["jos", "run", *arguments], prog_name="kev")


def saying(folder: Path, text: str) -> str:
    """A guest that prints its number and a text, without an end of line."""
    file = folder / text.strip()
    program = Program().store(REQUEST, text.encode()).show(REQUEST, len(text))
    file.write_bytes(program.image())
    return str(file)


def test_guests_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    result = run("--seed", "1", saying(tmp_path, "one\nmore\n"), saying(tmp_path, "two"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert sorted(result.stdout.splitlines()) == ["1: more", "1: one", "2: two"]


def test_what_is_typed_reaches_every_guest(tmp_path: Path) -> None:
    echoing = Program()
    echoing.text += 2 * code(
        """66 ba fd 03 ; mov dx, 0x3fd
        ec a8 01 74 fb ; 1: in al, dx; test al, 1; jz 1b
        66 ba f8 03 ec e6 e9 ; mov dx, 0x3f8; in al, dx; out 0xe9, al"""
    )
    (tmp_path / "guest").write_bytes(echoing.image())
    (tmp_path / "keys").write_text("ok")
    result = run("--seed", "1", "--input", str(tmp_path / "keys"), str(tmp_path / "guest"), str(tmp_path / "guest"))
    assert sorted(result.stdout.splitlines()) == ["1: ok", "2: ok"]


def test_input_that_would_be_waited_for_or_is_too_much_is_refused_in_a_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes((1 << 20) + 1))
    for name, problem in (("fifo", "cannot be read: is no regular file"), ("large", "is too large: there may be 1 MiB of it")):
        result = run("--input", str(tmp_path / name), saying(tmp_path, "guest"))
        assert (result.exit_code, result.stderr) == (2, f"kev: {tmp_path / name}: {problem}\n")


def test_more_guests_than_a_host_has_are_refused_in_a_line(tmp_path: Path) -> None:
    result = run(*["jos"] * 65)
    assert (result.exit_code, result.stderr) == (2, "kev: 65 guests: one host has up to 64\n")


def test_standard_input_is_typed_as_far_as_may_be(tmp_path: Path) -> None:
    guest = saying(tmp_path, "alone")
    for keys, exit_code in ((b"keys", 0), (bytes((1 << 20) + 1), 2)):
        assert CliRunner().invoke(kev, ["jos", "run", "--input", "-", guest], input=keys, prog_name="kev").exit_code == exit_code


def test_one_guest_prints_what_it_prints(tmp_path: Path) -> None:
    assert run(saying(tmp_path, "alone\nin")).stdout == "alone\nin"


def test_each_guest_has_the_next_disk(tmp_path: Path) -> None:
    arguments = []
    for number in (1, 2):
        (tmp_path / f"guest{number}").write_bytes(exchanging(f"/vmm/fs{number}.img", 2))
        (tmp_path / f"disk{number}").write_bytes(bytes(16 << 10))
        arguments += ["--disk", f"{tmp_path}/disk{number}"]
    result = run(*arguments, str(tmp_path / "guest1"), str(tmp_path / "guest2"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert all((tmp_path / f"disk{number}").read_bytes()[8192:8196] == struct.pack("<I", 1) for number in (1, 2))


def test_a_guest_that_goes_back_to_the_host_stays_in_the_background(tmp_path: Path) -> None:
    (tmp_path / "leaving").write_bytes(Program().call(rax=5).image())
    result = run(str(tmp_path / "leaving"), saying(tmp_path, "fine"))
    assert result.exit_code == 0
    assert "1: Now back to the host, VM halt in the background, run vmmanager to resume the VM.\n" in result.stdout
    assert "2: fine\n" in result.stdout
    assert result.stderr == f"kev: guest 1, {tmp_path}/leaving: is in the background, and ends with its host\n"


def test_the_first_failure_is_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "dying").write_bytes(Program().call(rax=99).image())
    result = run(saying(tmp_path, "fine"), str(tmp_path / "dying"))
    assert result.exit_code == 3
    assert "2: Unhandled VMEXIT, aborting guest.\n" in result.stdout
    assert result.stderr.startswith(f"kev: guest 2, {tmp_path}/dying: vCPU 0 at RIP 0x")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--processor", "no-vmx"], "kev: [VMM] VMX extension not supported. (-17, E_NO_VMX)"),
        (["--processor", "no-ept"], "kev: [VMM] EPT extension not supported. (-18, E_NO_EPT)"),
        (["--disk", "a", "--disk", "b"], "kev: 2 disks for 1 guests: each has one"),
        (["--disk", "a,virtio"], "kev: disk a,virtio: a guest of the JOS VMM has its disk behind ipc, not virtio"),
        (["--disk", "no/such/disk"], "kev: disk no/such/disk: cannot be opened for reading and writing: No such file or directory"),
        ([], "kev: gone: there is no such file, and no such guest on the root file system"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path: Path, arguments: list[str], line: str) -> None:
    image = saying(tmp_path, "unheard") if arguments else "gone"
    result = run(*arguments, image)
    assert result.exit_code == 2
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_two_guests_of_the_root_file_system_come_to_their_ends() -> None:
    result = run("jos", "jos", "--seed", "1")
    assert result.exit_code == 0
    for number in (1, 2):
        assert f"{number}: note.txt 21\n" in result.stdout
        assert f"{number}: HLT in guest, exiting guest.\n" in result.stdout
