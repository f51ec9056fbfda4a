"""What going on from a snapshot takes, however much was touched; and that it goes on exactly, and is never half there."""

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.measurement import Measurement, Result, repeat
from kev.addressing import GIB, MIB, PAGE_SIZE
from kev.measure.line import FirstInstruction
from kev.measure.touched import write_touched
from kev.pager.kernel import trio_rendezvous
from kev.pager.source import FileSource
from kev.pager.survey import SurveyedPage
from kev.snapshot.layout import CHUNK_PAGES
from kev.snapshot.reader import SnapshotFile
from kev.snapshot.writer import SnapshotWriter
from kev.spec.machine_spec import MachineSpec
from tests.machine.restoring import OtherProcess, held, other_process, run, save, told, uninterrupted

TITLE: Final = "going on from a snapshot, to its first instruction; how often that ended otherwise, or half a snapshot was left"
_ROUNDS: Final = 21
_FLAT: Final = 1.1
_TURNS: Final = 8
"""How often a round measures each launch."""
_PROCESSOR: Final = ", processor"
_TOUCHED: Final = {"64 MiB": 64 * MIB, "1 GiB": GIB, "64 GiB": 64 * GIB}
_RESTORES: Final = 1000
_QUICK: Final = 20
_KILLS: Final = 200
_LONGEST: Final = 0.05
"""Seconds until a writer is killed, at most."""
_GUESTS: Final = (
    "bootsector",
    "bios",
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


def measure(quick: bool) -> list[Result]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        return [
            *_go_on(folder, quick),
            Measurement("saving it, until it is on the disk", "ms", [_save(folder) for _ in range(1 if quick else _ROUNDS)]),
            *_exactness(folder, _QUICK if quick else _RESTORES),
            *_kills(folder, _QUICK if quick else _KILLS),
        ]


def _go_on(folder: Path, quick: bool) -> Iterator[Result]:
    machines = {"the guest launched instead": MachineSpec(_BOOT[0], seed=_BOOT[1], memory="80G")}
    small = folder / "small"
    with held(_BOOT[0], seed=_BOOT[1], memory="80G") as machine:
        machine.vm.stop_at = 20_000
        run(machine)
        save(machine, small)
    for label, size in _TOUCHED.items():
        if not quick or size <= GIB:
            write_touched(small, folder / label, size)
            machines[f"{label} touched"] = MachineSpec(folder / label)
    samples = repeat(_ROUNDS, quick, lambda: _least_of_some({what: FirstInstruction(spec) for what, spec in machines.items()}))
    yield from (Measurement(what, "ms", samples[what]) for what in machines)
    for unit, name in (("", "  the slowest by the fastest"), (_PROCESSOR, "  the same in time of the processor")):
        medians = [statistics.median(samples[what + unit]) for what in machines if "touched" in what]
        yield Measurement(name, "times", [max(medians) / min(medians)], _FLAT)


def _least_of_some(launches: Mapping[str, FirstInstruction]) -> dict[str, float]:
    """Each several times, forwards and backwards in turn: what disturbs a launch makes it longer."""
    least: dict[str, float] = {}
    for turn in range(_TURNS):
        for what, launch in list(launches.items())[:: -1 if turn % 2 else 1]:
            metrics = launch.measure()
            for name, metric in ((what, "first_instruction_ms"), (what + _PROCESSOR, "processor_ms")):
                least[name] = min(least.get(name, metrics[metric]), metrics[metric])
    return least


def _save(folder: Path) -> float:
    with held(_BOOT[0], seed=_BOOT[1]) as machine:
        machine.vm.stop_at = 20_000
        run(machine)
        began = time.perf_counter()
        save(machine, folder / "saved")
        return (time.perf_counter() - began) * 1e3


# Exactness.


def _exactness(folder: Path, count: int) -> Iterator[Result]:
    chance, others = random.Random(12), 0
    with other_process() as process:
        for guest in islice(cycle(_GUESTS), count):
            others += not _ends_alike(guest, chance.random(), folder / "exact", process)
    yield Measurement(f"of {count} at random instructions, ended otherwise", "runs", [others], 0)


def _ends_alike(guest: str, where: float, file: Path, process: OtherProcess) -> bool:
    expected = uninterrupted(guest)
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
    pages = [SurveyedPage(number, bytes((number % 255 + 1,)) * PAGE_SIZE, False) for number in range(CHUNK_PAGES)]
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
