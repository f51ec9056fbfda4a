"""Whether the same seed is the same run, however the host is disturbed.

`python -m bench repeats` makes a thousand runs. `python -m bench.repeats FOLDER --runs 100000` makes as many as that, in a process
after another, and goes on with what is in the folder already.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self
from zlib import crc32

import attrs
import click

from bench.disturbance import CHANCE, disturb_garbage, disturb_process, disturbance, environment
from bench.measurement import Measurement, Result
from bench.repeated_run import REPEATED, LateInput, Run, difference, packed, run_forks, run_once, unpacked

TITLE: Final = "the same seed, however the host is disturbed"
_SEEDS: Final = 5
_RUNS: Final = 1_000
_QUICK: Final = 20
_RUNS_OF_A_PROCESS: Final = 4_000
_SAVE_EVERY: Final = 100
_HELD: Final = 0.1
"""The part of the runs that are paused on the way."""
_TRACED: Final = 0.6
"""That of the runs whose exits are compared one by one."""
_FORKED: Final = 0.3
"""How often several forks are run instead."""
_FORKS: Final = 15
_CHEAP: Final = 0.003
"""Seconds of the processor: what a run is expected to take of which nothing is known."""


@attrs.define
class Group:
    """The runs of a guest with its options and a seed."""

    runs: int = 0
    """The first, with which all others are compared, is one of them."""
    traced: int = 0
    held: int = 0
    forked: int = 0
    seconds: float = 0.0
    """Of the processor, for all of them."""
    slowest: float = 0.0

    @property
    def weight(self) -> float:
        """How likely it is that the next run is one of them: small guests are run more often than those that take long."""
        mean = self.seconds / self.runs if self.runs else _CHEAP
        return max(mean, _CHEAP / 10) ** -3


@attrs.define
class Tally:
    """What has been found so far, in a folder."""

    folder: Path
    groups: dict[str, Group]
    differences: list[str]
    late: int = 0
    """Runs that do not count, because the host had no input for them in time."""
    processes: int = 0

    @classmethod
    def load(cls, folder: Path) -> Self:
        groups = {key(name, seed): Group() for name in REPEATED for seed in range(1, _SEEDS + 1)}
        if not (file := folder / "tally.json").exists():
            return cls(folder, groups, [])
        saved = json.loads(file.read_text(encoding="utf-8"))
        groups |= {name: Group(**group) for name, group in saved["groups"].items()}
        return cls(folder, groups, saved["differences"], saved["late"], saved["processes"])

    def save(self) -> None:
        """At once: whoever is killed leaves no half of it."""
        saved: dict[str, Any] = attrs.asdict(self, filter=attrs.filters.exclude("folder"))
        new = self.folder / "tally.new"
        new.write_text(json.dumps({"runs": self.runs, **saved}, indent=1) + "\n", encoding="utf-8")
        os.replace(new, self.folder / "tally.json")

    @property
    def runs(self) -> int:
        return sum(group.runs for group in self.groups.values())

    def first(self, name: str) -> Run | None:
        """The first run of a group; None before there is one."""
        file = self._file(name)
        return unpacked(file.read_bytes()) if file.exists() else None

    def keep(self, name: str, run: Run, suffix: str = "") -> None:
        self._file(name, suffix).write_bytes(packed(run))

    def _file(self, name: str, suffix: str = "") -> Path:
        return self.folder / f"{crc32(name.encode()):08x}{suffix}.run"


def key(name: str, seed: int) -> str:
    return f"{name}; seed {seed}"


def measure(quick: bool) -> list[Result]:
    with TemporaryDirectory() as folder:
        tally = campaign(Path(folder), _QUICK if quick else _RUNS)
    for told in tally.differences:
        click.echo(told, err=True)
    name = f"of {tally.runs:,} runs in {tally.processes} processes: other than the first of their guest, options and seed"
    return [Measurement(name, "runs", [len(tally.differences)], limit=0)]


def campaign(folder: Path, runs: int) -> Tally:
    """Makes runs in processes of their own until there are so many in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    while (tally := Tally.load(folder)).runs < runs:
        before = tally.runs
        command = (sys.executable, "-m", "bench.repeats", str(folder), "--runs", str(runs), "--here")
        with (folder / "errors.txt").open("ab") as errors:
            ended = subprocess.run(command, env=environment(), stderr=errors, check=False)
        tally = Tally.load(folder)
        if ended.returncode != 0:
            # What takes a process down is as bad as a difference, and would do so again.
            tally.differences.append(f"a process ended with {ended.returncode}, behind {tally.runs:,} runs: see errors.txt")
            tally.save()
            if tally.runs == before:
                break
    return tally


def run_here(tally: Tally, runs: int) -> None:
    """Makes some of the runs that are lacking in this process."""
    disturb_process()
    tally.processes += 1
    firsts: dict[str, Run] = {}
    goal = min(runs, tally.runs + _RUNS_OF_A_PROCESS)
    saved = 0
    with disturbance():
        while tally.runs < goal:
            if tally.runs >= saved + _SAVE_EVERY:
                disturb_garbage()
                tally.save()
                saved = tally.runs
            _run_some(tally, firsts)
    tally.save()


def _run_some(tally: Tally, firsts: dict[str, Run]) -> None:
    """One run, or one and its forks, of a group that chance chooses."""
    (name,) = CHANCE.choices(list(tally.groups), [group.weight for group in tally.groups.values()])
    guest, _, seed = name.rpartition("; seed ")
    repeated, group = REPEATED[guest], tally.groups[name]
    first = firsts.get(name) or tally.first(name)
    began = time.process_time()
    if first is not None and first.pages and repeated.holdable and CHANCE.random() < _FORKED:
        runs = run_forks(repeated, int(seed), first, _FORKS)
        group.forked += len(runs) - 1
    else:
        traced = first is None or CHANCE.random() < _TRACED
        held = first is not None and repeated.holdable and CHANCE.random() < _HELD
        try:
            runs = [run_once(repeated, int(seed), traced=traced, held=held)]
        except LateInput:
            tally.late += 1
            return
        group.traced += traced
        group.held += held
    seconds = time.process_time() - began
    group.runs += len(runs)
    group.seconds += seconds
    group.slowest = max(group.slowest, seconds / len(runs))
    if first is None:
        (first,) = runs
        tally.keep(name, first)
    firsts[name] = first
    for run in runs:
        if (told := difference(first, run)) is not None:
            tally.differences.append(f"{name}: {told}")
            tally.keep(name, run, f"-{len(tally.differences)}")
            tally.save()


def _told(tally: Tally) -> Iterator[str]:
    def of_all(what: str) -> int:
        return sum(getattr(group, what) for group in tally.groups.values())

    used = sum(group.runs > 0 for group in tally.groups.values())
    yield f"{tally.runs:,} runs of {used} guests, options and seeds, in {tally.processes} processes"
    yield f"{of_all('seconds'):,.0f} s of the processor; {tally.late} more had no input in time"
    yield f"{of_all('traced'):,} with every exit compared, {of_all('held'):,} held and paused, {of_all('forked'):,} forks"
    yield f"{len(tally.differences)} differences"
    yield from tally.differences


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--runs", type=click.IntRange(1), default=_RUNS, show_default=True, help="So many in all.")
@click.option("--here", is_flag=True, help="Some of them, in this process.")
def main(folder: Path, runs: int, here: bool) -> None:
    """Repeat runs with a seed under disturbance, and compare each with the first of its guest, options and seed."""
    if here:
        run_here(Tally.load(folder), runs)
        return
    tally = campaign(folder, runs)
    click.echo("\n".join(_told(tally)))
    sys.exit(1 if tally.differences else 0)


if __name__ == "__main__":
    main()
