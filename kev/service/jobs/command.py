"""What a job runs: the words of a command line of kev, made of what a client asks for."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from kev.observe.progress import PROGRESS_SECONDS
from kev.service.jobs.confined import Rules
from kev.spec.machine_spec import MachineSpec
from kev.user_files import real_path

_PROGRESS_SECONDS: Final = "0.5"
_RACE_OPTIONS: Final = {
    "runs": "--runs",
    "seconds": "--time",
    "seed": "--seed",
    "strategy": "--strategy",
    "depth": "--depth",
    "preemptions": "--preemptions",
    "after": "--after",
    "processes": "--jobs",
}


class Command(NamedTuple):
    """A process that does a job."""

    words: tuple[str, ...]
    """Behind `kev`."""
    rules: Rules
    """What it may."""
    result: Path | None
    """The file that its result is in; None for standard output. It is JSON."""

    def arguments(self) -> list[str]:
        return [sys.executable, "-m", "kev.service.jobs.confined", self.rules.text(), *self.words]


def environment(folder: str) -> dict[str, str]:
    """The process imports the kev that this is, says often how far it is, and writes into `folder` what it writes for a while."""
    path = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "TMPDIR": folder, PROGRESS_SECONDS: _PROGRESS_SECONDS}


def _rules(spec: MachineSpec, *writes: Path) -> Rules:
    kind, _, file = (spec.paging or "").partition("=")
    named = [spec.image, spec.firmware, spec.boot_sector, *(module.path for module in spec.modules)]
    named += [*(disk.path for disk in spec.disks), file if kind == "prefetch" else None]
    reads = [real_path(name) for name in named if name and os.path.isabs(name)]
    return Rules(tuple(reads), tuple(map(os.fspath, writes)), "://" in spec.image)


def race_command(asked: Mapping[str, Any], spec: MachineSpec, state: Path, folder: Path) -> Command:
    """`kev race explore`. `state`: the folder where failures are kept; `folder`: where it may write, too."""
    words = ["race", "explore", "--json", "--state", os.fspath(state)]
    for name, option in _RACE_OPTIONS.items():
        if name in asked:
            words += [f"{option}={asked[name]}"]
    if asked.get("keep_going"):
        words.append("--keep-going")
    if "program" in asked:
        return Command((*words, "--", asked["program"]), _rules(spec, state, folder), None)
    return Command((*words, *spec.to_arguments()), _rules(spec, state, folder), None)


def bench_command(asked: Mapping[str, Any], spec: MachineSpec, folder: Path) -> Command:
    """`kev bench boot` or `restore`. `folder` is where it may write."""
    result = folder / "result.json"
    words = ["bench", asked.get("what", "boot"), "--json", os.fspath(result), "--rounds", str(asked.get("rounds", 5))]
    if "at" in asked:
        words += [f"--at={asked['at']}"]
    return Command((*words, *spec.to_arguments()), _rules(spec, folder), result)
