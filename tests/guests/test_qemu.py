"""The Multiboot 1 guests on the machine that they will be compared with."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.guests.images import read_file

QEMU = shutil.which("qemu-system-x86_64")
DEBUG_EXIT = ("-device", "isa-debug-exit,iobase=0xf4,iosize=4")

pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed")


def boot(guest: str, directory: Path, *arguments: str) -> tuple[int, str]:
    """QEMU's exit code and what the guest wrote to COM1 after the firmware's own lines."""
    image = directory / guest
    image.write_bytes(read_file(guest))
    command = [str(QEMU), "-accel", "tcg", "-nodefaults", "-display", "none", "-serial", "stdio", "-kernel", str(image), *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return result.returncode, result.stdout.replace("\r", "")


def test_mb1_prints_its_banner_first_and_hello_last(tmp_path: Path) -> None:
    _, output = boot("mb1", tmp_path)
    lines = output.splitlines()
    assert lines[0] == "gKeOS, a KeOS-style guest kernel"
    assert lines[-2:] == ["subsystems: 24 of 384 started", "Hello guest os!"]


def test_mb1_prints_the_memory_map(tmp_path: Path) -> None:
    _, output = boot("mb1", tmp_path, "-m", "64")
    assert "  0x0000000000100000-0x0000000003fdffff usable\n" in output


def test_mb1_ends_through_the_debug_exit_port_with_value_0(tmp_path: Path) -> None:
    code, _ = boot("mb1", tmp_path, *DEBUG_EXIT)
    assert code == 1


@pytest.mark.parametrize(("guest", "output"), [("mb1", "os!\n"), ("loop", "<>"), ("touch", "wrx\n")])
def test_a_guest_powers_off_where_there_is_no_debug_exit(tmp_path: Path, guest: str, output: str) -> None:
    code, text = boot(guest, tmp_path)
    assert code == 0
    assert text.endswith(output)
