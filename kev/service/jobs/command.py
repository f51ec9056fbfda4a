"""What a job runs: the words of a command line of kev, made of what a client asks for."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from kev.spec.machine_spec import MachineSpec

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
    result: Path | None
    """The file that its result is in; None for standard output. It is JSON."""

    def arguments(self) -> list[str]:
        return [sys.executable, "-m", "kev", *self.words]


def environment() -> dict[str, str]:
    """The process imports the kev that this is."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}


def race_command(asked: Mapping[str, Any], spec: MachineSpec, state: Path) -> Command:
    """`kev race explore`. `state`: the folder where failures are kept."""
    words = ["race", "explore", "--json", "--state", os.fspath(state)]
    for name, option in _RACE_OPTIONS.items():
        if name in asked:
            words += [f"{option}={asked[name]}"]
    if asked.get("keep_going"):
        words.append("--keep-going")
    if "program" in asked:
        return Command((*words, "--", asked["program"]), None)
    return Command((*words, *spec.to_arguments()), None)


def bench_command(asked: Mapping[str, Any], spec: MachineSpec, folder: Path) -> Command:
    """`kev bench boot` or `restore`. `folder` is where it may write."""
    result = folder / "result.json"
    words = ["bench", asked.get("what", "boot"), "--json", os.fspath(result), "--rounds", str(asked.get("rounds", 5))]
    if "at" in asked:
        words += [f"--at={asked['at']}"]
    return Command((*words, *spec.to_arguments()), result)
