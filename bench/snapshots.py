"""What going on from a snapshot takes, however much was touched; and that it goes on exactly, and is never half there."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from bench.machines import free_machines
from bench.measurement import Measurement, Result, repeat
from kev.addressing import GIB, MIB, PAGE_SIZE
from kev.machine.step import Ran, Stopped
from kev.pager.kernel import trio_rendezvous
from kev.pager.source import FileSource
from kev.snapshot.layout import CHUNK_SHIFT
from kev.snapshot.reader import SnapshotFile
from kev.snapshot.writer import SnapshotWriter
from tests.machine.restoring import End, OtherProcess, held, other_process, run, save, told

TITLE: Final = "going on from a snapshot, to its first instruction; how often that ended otherwise, or half a snapshot was left"
_ROUNDS: Final = 21
_FLAT: Final = 1.1
_TOUCHED: Final = {"64 MiB": 64 * MIB, "1 GiB": GIB, "64 GiB": 64 * GIB}
_RESTORES: Final = 1000
_QUICK: Final = 20
_KILLS: Final = 200
_LONGEST: Final = 0.05
"""Seconds until a writer is killed, at most."""
_GUESTS: Final = (
    "bootsector",
    "events16",
    "events32",
    "events",
    "user",
    "timer",
    "smp",
    "lost-update",
    "block",
    "virtio",
    "virtio-pci",
)
_BOOT: Final = ("smp", 7)
"""A guest and its seed, whose launch is compared."""


class _Page(NamedTuple):
    number: int
    contents: bytes
    by_reference: bool = False


def measure(quick: bool) -> list[Result]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        samples = _go_on(folder, quick)
        launches = {what: Measurement(what, "ms", values) for what, values in samples.items()}
        touched = [measurement.median for what, measurement in launches.items() if "touched" in what]
        return [
            *launches.values(),
            Measurement("  the slowest by the fastest", "times", [max(touched) / min(touched)], _FLAT),
            Measurement("saving it, until it is on the disk", "ms", [_save(folder) for _ in range(1 if quick else _ROUNDS)]),
            *_exactness(folder, _QUICK if quick else _RESTORES),
            *_kills(folder, _QUICK if quick else _KILLS),
        ]


def _go_on(folder: Path, quick: bool) -> dict[str, list[float]]:
    files = {}
    for label, size in _TOUCHED.items():
        if not quick or size <= GIB:
            files[f"{label} touched"] = _write_touched(folder / label, size)
    rounds = repeat(
        _ROUNDS,
        quick,
        lambda: (
            {"the guest launched instead": _first_instruction(_BOOT[0])}
            | {what: _first_instruction(file) for what, file in files.items()}
        ),
    )
    return {what: list(values) for what, values in rounds.items()}


def _write_touched(file: Path, size: int) -> Path:
    """A snapshot of a machine that has touched `size` bytes of its RAM: zeros, but for one page in 2 MiB."""
    small = file.with_name("small")
    with held(_BOOT[0], seed=_BOOT[1], memory="80G") as machine:
        machine.vm.stop_at = 20_000
        run(machine)
        save(machine, small)
    with FileSource(small) as source:
        saved = SnapshotFile(source, trio_rendezvous)
        pages = {chunk: _pages(saved, chunk) for chunk in saved.chunks()}
        filler = [_Page(0, b"x" * PAGE_SIZE), *(_Page(number, bytes(PAGE_SIZE)) for number in range(1, 512))]
        first = (5 * GIB) >> CHUNK_SHIFT  # behind everything that the guest itself has
        chunks = [*pages, *range(first, first + (size >> CHUNK_SHIFT))]
        with SnapshotWriter(file, saved.machine(), saved.state(), chunks) as writer:
            for chunk in chunks:
                writer.add(chunk, pages.get(chunk, filler))
            writer.finish()
            writer.commit()
    return file


def _pages(saved: SnapshotFile, chunk: int) -> list[_Page]:
    """Those that are stored, or zeros; the image has the others."""
    entry = saved.known_entry(chunk)
    assert entry is not None
    found = []
    for number in range(512):
        contents = bytearray(PAGE_SIZE)
        if entry.stored >> number & 1:
            saved.read_run(entry, number, memoryview(contents))
        if (entry.stored | entry.zero) >> number & 1:
            found.append(_Page(number, bytes(contents)))
    return found


def _first_instruction(image: str | Path) -> float:
    """Milliseconds from the call until the guest has executed an instruction."""
    free_machines()
    began = time.perf_counter()
    with held(image, **({} if isinstance(image, Path) else {"seed": _BOOT[1], "memory": "80G"})) as machine:
        machine.vm.stop_at = machine.vm.instructions + 1
        step = machine.vm.step(machine.scheduler)
        ended = time.perf_counter()
        assert isinstance(step, Ran | Stopped), step
    return (ended - began) * 1e3


def _save(folder: Path) -> float:
    with held(_BOOT[0], seed=_BOOT[1]) as machine:
        machine.vm.stop_at = 20_000
        run(machine)
        began = time.perf_counter()
        save(machine, folder / "saved")
        return (time.perf_counter() - began) * 1e3


# Exactness.


@cache
def _uninterrupted(guest: str) -> End:
    with held(guest, seed=1) as machine:
        run(machine)
        machine.note_end()
        return told(machine)


def _exactness(folder: Path, count: int) -> Iterator[Result]:
    chance, others = random.Random(12), 0
    with other_process() as process:
        for guest in islice(cycle(_GUESTS), count):
            others += not _ends_alike(guest, chance.random(), folder / "exact", process)
    yield Measurement(f"of {count} at random instructions, ended otherwise", "runs", [others], 0)


def _ends_alike(guest: str, where: float, file: Path, process: OtherProcess) -> bool:
    expected = _uninterrupted(guest)
    with held(guest, seed=1) as machine:
        machine.vm.stop_at = max(int(expected.instructions * where), 1)
        run(machine)
        before = told(machine)
        save(machine, file)
    return process.end_of(file).after(before) == expected


# Writers that are killed.

_WRITER: Final = """
import sys
from bench.snapshots import write_for_ever
write_for_ever(sys.argv[1])
"""


def write_for_ever(file: str) -> None:
    """Writes one snapshot after the other, under the same name, and says when it begins."""
    pages = [_Page(number, bytes((number % 255 + 1,)) * PAGE_SIZE) for number in range(512)]
    print("begins", flush=True)
    while True:
        with SnapshotWriter(file, {}, {}, range(4)) as writer:
            for chunk in range(4):
                writer.add(chunk, pages)
            writer.finish()
            writer.commit()


def _kills(folder: Path, count: int) -> Iterator[Result]:
    chance, halves, written = random.Random(12), 0, 0
    file = folder / "killed"
    for _ in range(count):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(file)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(chance.uniform(0, _LONGEST))
            writer.send_signal(signal.SIGKILL)
        written += file.exists()
        halves += file.exists() and not _is_whole(file)
        for leftover in folder.glob(".killed.*"):
            os.unlink(leftover)
    yield Measurement(f"of {count} killed writers, some snapshot was there", "writers", [written])
    yield Measurement(f"of {count} killed writers, half a snapshot was there", "writers", [halves], 0)


def _is_whole(file: Path) -> bool:
    with FileSource(file) as source:
        saved = SnapshotFile(source, trio_rendezvous)
        for chunk in range(4):
            entry = saved.known_entry(chunk)
            contents = bytearray(512 * PAGE_SIZE)
            if entry is None or not saved.read_run(entry, 0, memoryview(contents)):
                return False
            if any(contents[number * PAGE_SIZE] != number % 255 + 1 for number in range(512)):
                return False
    return True
