"""Input that is typed on the keyboard: a real guest reads it."""

import os
from pathlib import Path

import pytest

import kev
from kev.cli.launch import main
from kev.machine.errors import MachineError
from tests.abi.calls import POWER_OFF, kernel
from tests.boot.images import source
from tests.machine.code import code

# mov dx, 0x3f8; 1: in al, 0x64; test al, 1; jz 1b; in al, 0x60; out dx, al; cmp al, 0x9c; jne 1b
UNTIL_ENTER = code("66 ba f8 03 e4 64 a8 01 74 fa e4 60 ee 3c 9c 75 f3")
"""Prints the scan codes of what is typed, up to the release of Enter."""
TYPED, CODES = b"aB\n", bytes.fromhex("1e9e 2a30b0aa 1c9c")


@pytest.mark.parametrize("seed", [None, 3])
def test_what_comes_from_a_descriptor_is_typed(seed: int | None) -> None:
    reader, writer = os.pipe()
    os.write(writer, TYPED)
    os.close(writer)
    image = source(kernel(UNTIL_ENTER + POWER_OFF))
    report = kev.launch(image, memory="16M", timeout=30, keyboard=True, input_descriptor=reader, seed=seed)
    os.close(reader)
    assert (report.exit_code, report.output) == (0, CODES)


def test_a_holder_types_too() -> None:
    with kev.start(source(kernel(UNTIL_ENTER + POWER_OFF)), memory="16M", timeout=30, keyboard=True) as machine:
        machine.send("a")
        machine.expect(b"\x1e\x9e", timeout=20)
        machine.send("B\n")
        report = machine.wait()
    assert (report.exit_code, report.output) == (0, CODES)


def test_control_alt_delete_is_pressed_whatever_input_goes_to() -> None:
    # The same, until Control is released.
    until_control = UNTIL_ENTER.replace(b"\x3c\x9c", b"\x3c\x9d")
    with kev.start(source(kernel(until_control + POWER_OFF)), memory="16M", timeout=30) as machine:
        machine.press_ctrl_alt_delete()
        report = machine.wait()
        with pytest.raises(MachineError, match="no key can be pressed: the run has ended"):
            machine.press_ctrl_alt_delete()
    assert (report.exit_code, report.output) == (0, bytes.fromhex("1d 38 e053 e0d3 b8 9d"))


def test_without_being_asked_input_goes_to_com1() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    os.close(writer)
    # 1: in al, dx (0x3fd); test al, 1; jz 1b; mov dl, 0xf8; in al, dx; out 0xe9, al
    text = code("66 ba fd 03 ec a8 01 74 fb b2 f8 ec e6 e9")
    report = kev.launch(source(kernel(text + POWER_OFF)), memory="16M", timeout=30, input_descriptor=reader)
    os.close(reader)
    assert (report.exit_code, report.output) == (0, b"x")


def test_the_command_line_types_standard_input(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, keys = tmp_path / "kernel", tmp_path / "keys"
    image.write_bytes(kernel(UNTIL_ENTER + POWER_OFF))
    keys.write_bytes(TYPED)
    with keys.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert main([str(image), "-m", "16M", "--timeout", "30", "--keyboard"]) == 0
    assert capfdbinary.readouterr().out == CODES
