"""Runs compared bit for bit, while the host does what it can to make them differ."""

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from zlib import crc32

import kev
from bench.disturbance import piped
from kev.machine.digest import all_registers, memory_checksum
from kev.machine.machine import Machine

_BUSY: Final = "while True: sum(range(1000))"


class Digest(NamedTuple):
    """What there is of a run when it is over."""

    ending: str
    output: int
    exits: int
    """CRC-32 of a line for every exit, in order."""
    registers: int
    """Of all vCPUs."""
    memory: int
    time: int
    """Guest time, in nanoseconds."""


def digest(image: str, *, data: bytes = b"", **wishes: Any) -> Digest:
    """Runs a guest with a seed. `data` is its input."""
    exits = 0
    held: list[int] = []

    def trace(line: str) -> None:
        nonlocal exits
        exits = crc32(line.encode(), exits)

    def hold(machine: Machine) -> None:
        registers = repr(tuple(all_registers(vcpu) for vcpu in machine.vm.vcpus))
        held.extend((crc32(registers.encode()), memory_checksum(machine.vm), machine.vm.clock.now()))

    output = bytearray()
    with piped(data) as descriptor:
        report = kev.launch(
            image, output=output.extend, trace_exits=trace, at_end=hold, input_descriptor=descriptor, timeout=300, **wishes
        )
    return Digest(report.ending.message, crc32(output), exits, *held)


@contextmanager
def disturbance() -> Iterator[None]:
    """Processes that take the processor away for a while, and threads that take the interpreter's lock."""
    hogs = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(2)]
    over = threading.Event()

    def disturb() -> None:
        while not over.wait(random.random() / 200):
            number = random.choice((signal.SIGSTOP, signal.SIGCONT))
            for hog in hogs:
                hog.send_signal(number)
            sum(range(random.randrange(50_000)))

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for hog in hogs:
            hog.kill()
            hog.wait()


MATRIX: Final[Mapping[str, Mapping[str, Any]]] = {
    "one vCPU": {"image": "gKeOS"},
    "several vCPUs": {"image": "smp", "vcpus": 4},
    "a racy guest": {"image": "lost-update", "vcpus": 4},
    "timers": {"image": "timer"},
    "a slow source": {"image": "smp", "vcpus": 2, "source_latency": "100us,jitter=2ms"},
    "a slow source, pages around": {"image": "smp", "vcpus": 2, "source_latency": "100us,jitter=2ms", "paging": "around=4"},
    "a slow source, all pages": {"image": "smp", "vcpus": 2, "source_latency": "50us,jitter=1ms", "paging": "eager"},
    "a disk": {"image": "block"},
    "virtio": {"image": "virtio"},
    "input": {"image": "echo", "data": b"hello\nand more of it\nexit 0\n"},
}
"""Guests and options, each with what could come sooner or later."""
