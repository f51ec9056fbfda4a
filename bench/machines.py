"""Runs guests: on kev in this process, and on QEMU."""

import gc
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from bench.transcript import Transcript
from kev.guests.images import open_image, open_root_file_system
from kev.machine.builder import MachineOptions
from kev.machine.launcher import prepare, run
from kev.machine.machine import Machine

QEMU: Final = shutil.which("qemu-system-x86_64")
QEMU_MISSING: Final = "qemu-system-x86_64 is not installed"
_CHUNK: Final = 1 << 16


@contextmanager
def launched(guest: str, options: MachineOptions | None = None) -> Iterator[Machine]:
    """One of kev's guests, ready to run. Its output goes nowhere."""
    free_machines()
    with open_image(guest) as (source, _):
        yield prepare(source, options=options, output=lambda _: None)


def free_machines() -> None:
    """Gives back the memory of machines that are used no more: each is a cycle of objects, which would otherwise go at any time."""
    gc.collect()


def run_on_kev(guest: str, vcpus: int = 1, syscall: str = "native") -> Transcript:
    """Runs a guest to its end, as `kev run` does."""
    transcript = Transcript()
    with launched(guest, MachineOptions(vcpus=vcpus, syscall=syscall)) as machine:
        transcript.record(machine.vm)
        run(machine)
    return transcript


def run_on_qemu(guest: str, vcpus: int = 1) -> Transcript:
    """Runs a guest that boots by Multiboot 1, and that powers off, on QEMU's emulated CPU."""
    with qemu_command(guest, vcpus) as command:
        return read_output(command)


@contextmanager
def qemu_command(guest: str, vcpus: int = 1) -> Iterator[list[str]]:
    """What runs one of kev's guests on QEMU. COM1 is its standard output. QEMU must be installed."""
    assert QEMU is not None
    with TemporaryDirectory() as folder, open_root_file_system() as files:
        image = Path(folder, guest)
        image.write_bytes(files.open(guest).read())
        machine = [
            "-accel",
            "tcg",
            "-smp",
            f"{vcpus},sockets=1",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-serial",
            "stdio",
        ]
        ending = ["-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        yield [QEMU, *machine, *ending, "-kernel", str(image)]


def read_output(command: Sequence[str]) -> Transcript:
    """What a program writes to its standard output until it ends."""
    transcript = Transcript()
    with _started(command) as (_, output):
        while chunk := os.read(output, _CHUNK):
            transcript.add(chunk)
    return transcript


class UntilOutput(NamedTuple):
    """Seconds, by the clock and of processors."""

    clock: float
    processor: float


def seconds_until_output(command: Sequence[str], text: bytes, environment: Mapping[str, str] | None = None) -> UntilOutput:
    """From the start of a program until it has written `text` to its standard output; it is ended then.

    RuntimeError if it ends before.
    """
    began = time.perf_counter()
    written = b""
    with _started(command, environment) as (process, output):
        while text not in written:
            chunk = os.read(output, _CHUNK)
            if not chunk:
                raise RuntimeError(f"{command[0]} ended without writing {text!r}")
            written += chunk
        seconds = time.perf_counter() - began
        os.kill(process.pid, signal.SIGKILL)  # process.kill would wait for one that has ended by itself
        _, _, used = os.wait4(process.pid, 0)
    return UntilOutput(seconds, used.ru_utime + used.ru_stime)


@contextmanager
def _started(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=nothing, stdout=pipe, stderr=nothing) as process:
        assert process.stdout is not None
        yield process, process.stdout.fileno()
