"""What exits cost that the engine answers for the machine, or that stand for many: small kernels repeat them.

The CPU time of a launch with the loop and one without are compared.
"""

import struct
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import kev
from bench.measurement import Measurement, Result, differences, repeat
from tests.boot.images import multiboot1_header

TITLE: Final = "exits that are answered in short, or stand for many"
_ROUNDS: Final = 7
_LOADED_AT: Final = 1 << 20
_ADDRESSES_IN_HEADER: Final = 1 << 16
_MEMORY: Final = 16 << 20
_BUFFER: Final = 2 << 20
_SECTOR: Final = 512
_SECTORS: Final = 256
_SECOND_DISK_BY_LBA: Final = 0xF0

_POWER_OFF: Final = bytes.fromhex("66ba0406 b800200000 ef f4")  # mov dx, 0x604; mov eax, 0x2000; out dx, eax; hlt
_RDTSC: Final = bytes.fromhex("0f31")
_LOAD_ID: Final = bytes.fromhex("a12000e0fe")  # mov eax, [0xfee00020]
_LOAD_COUNT: Final = bytes.fromhex("a19003e0fe")
_START_COUNT: Final = bytes.fromhex("c7058003e0feffffffff")  # mov dword [0xfee00380], 0xffffffff
_READ_SECTOR: Final = bytes.fromhex("51 b980000000 66baf001 fc f36d 59")  # push ecx; mov ecx, 128; mov dx, 0x1f0; rep insd; pop ecx


class _Loop(NamedTuple):
    name: str
    body: bytes
    """32-bit code that leaves ECX as it is."""
    repetitions: int
    limit: float | None = None
    before: bytes = b""


def _read_command() -> bytes:
    """READ SECTORS of the second disk's first 256; EDI is where they go, ESP a stack."""
    registers = ((0x3F6, 2), (0x1F2, 0), (0x1F3, 0), (0x1F4, 0), (0x1F5, 0), (0x1F6, _SECOND_DISK_BY_LBA), (0x1F7, 0x20))
    writes = b"".join(b"\x66\xba" + struct.pack("<HBBB", port, 0xB0, value, 0xEE) for port, value in registers)
    return b"\xbc" + struct.pack("<I", _BUFFER) + b"\xbf" + struct.pack("<I", _BUFFER) + writes


_LOOPS: Final = (
    _Loop("empty loop", b"", 1_000_000),
    _Loop("RDTSC", _RDTSC, 1_000_000, 0.5),
    _Loop("xAPIC load: the ID", _LOAD_ID, 1_000_000, 0.1),
    _Loop("xAPIC load: the current count", _LOAD_COUNT, 1_000_000, 0.2, _START_COUNT),
    _Loop("a sector of an IDE disk by REP INSD", _READ_SECTOR, _SECTORS, 30.0, _read_command()),
)


def measure(quick: bool) -> list[Result]:
    with TemporaryDirectory() as folder:
        disk = Path(folder, "disk")
        disk.write_bytes(bytes(_SECTORS * _SECTOR))
        samples = repeat(_ROUNDS, quick, lambda: {loop.name: _time(loop, folder, disk) for loop in _LOOPS})
    empty = samples[_LOOPS[0].name]
    results: list[Result] = [Measurement(_LOOPS[0].name, "µs", empty)]
    return results + [Measurement(loop.name, "µs", differences(samples[loop.name], empty), loop.limit) for loop in _LOOPS[1:]]


def _time(loop: _Loop, folder: str, disk: Path) -> float:
    """Microseconds for each repetition."""
    once = b"\xb9" + struct.pack("<I", loop.repetitions) + b"\x0f\x1f\x00"  # mov ecx, count; nop
    repeated = once + loop.body + bytes((0x49, 0x75, 0x100 - len(loop.body) - 3))  # dec ecx; jnz
    seconds = [_run(folder, disk, loop.before + text) for text in (once, repeated)]
    return (seconds[1] - seconds[0]) * 1e6 / loop.repetitions


def _run(folder: str, disk: Path, text: bytes) -> float:
    """CPU seconds of a launch."""
    addresses = (_LOADED_AT, _LOADED_AT, 0, 0, _LOADED_AT + 32)
    header = multiboot1_header(_ADDRESSES_IN_HEADER, addresses)
    kernel = Path(folder, "kernel")
    kernel.write_bytes(header + text + _POWER_OFF)
    start = time.process_time()
    report = kev.launch(str(kernel), memory=_MEMORY, disks=[(str(disk), "ide")], timeout=60)
    seconds = time.process_time() - start
    if report.exit_code:
        raise RuntimeError(report.ending.message)
    return seconds
