"""Guests under the real gdb, in batch mode."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from kev.guests.images import open_image

NEEDS_GDB = pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
NEEDS_GCC = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc to build a kernel with")
KERNELS = Path(__file__).parent / "kernels"
_LONG_ENOUGH = 60
_FLAGS = (
    *("-O1", "-g", "-ffreestanding", "-fno-pic", "-fno-pie", "-fno-stack-protector", "-mgeneral-regs-only"),
    *("-fno-asynchronous-unwind-tables", "-fno-omit-frame-pointer", "-fcf-protection=none", "-nostdlib", "-static"),
    *("-Wl,-n", "-Wl,--build-id=none", "-Wl,-z,noexecstack"),
)
_BITS = {32: ("-m32", "-march=i686", "-Wl,-m,elf_i386"), 64: ("-m64", "-mcmodel=kernel", "-mno-red-zone")}


class Debugged(NamedTuple):
    """What came of it."""

    said: str
    """By gdb."""
    printed: str
    """By the guest."""
    told: str
    """By kev."""
    exit_code: int

    def values(self) -> list[str]:
        """What gdb's `print` and `output` commands said, one after the other."""
        return re.findall(r"^\$\d+ = (.*)$", self.said, re.MULTILINE)


def debug(image: str | Path, commands: Sequence[str], *options: str, symbols: Path | None = None, folder: Path) -> Debugged:
    """Runs a guest that waits for gdb, and gdb with `commands`."""
    socket = folder / "gdb"
    kev = subprocess.Popen(
        [sys.executable, "-m", "kev", "run", str(image), "--gdb", f"unix:{socket}", "--wait", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert kev.stderr is not None
    first = kev.stderr.readline()
    try:
        gdb = subprocess.run(
            ["gdb", "-q", "-nx", "-batch", *_executed("set pagination off", "set confirm off", "set width 0")]
            + ([] if symbols is None else [str(symbols)])
            + _executed(f"target remote {socket}", *commands),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LONG_ENOUGH,
            check=False,
        )
        printed, told = kev.communicate(timeout=_LONG_ENOUGH)
    finally:
        kev.kill()
    return Debugged(gdb.stdout, printed, first + told, kev.returncode)


def _executed(*commands: str) -> list[str]:
    return [word for command in commands for word in ("-ex", command)]


def guest_file(name: str, folder: Path) -> Path:
    """The image of a guest that comes with kev, for gdb to read symbols from."""
    path = folder / name
    with open_image(name) as (source, _):
        data = bytearray(source.size)
        source.read_into(0, memoryview(data))
    path.write_bytes(data)
    return path


def build(kernel: str, bits: int, folder: Path) -> Path:
    """A kernel of `KERNELS`: `kernel`.c and `kernel`.S, linked as `kernel`.ld says."""
    path = folder / f"{kernel}.elf"
    sources = [str(KERNELS / f"{kernel}{suffix}") for suffix in (".S", ".c")]
    script = f"-Wl,-T,{KERNELS / kernel}.ld"
    subprocess.run(["gcc", *_FLAGS, *_BITS[bits], script, *sources, "-o", str(path)], check=True, capture_output=True, text=True)
    return path
