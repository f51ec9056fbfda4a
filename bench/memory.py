"""How much memory a guest takes that has much: gKeOS with 64 GiB of RAM, booted to its end in a process of its own."""

import subprocess
import sys
from typing import Final

from bench.measurement import Measurement, Result, repeat

TITLE: Final = "resident memory at its peak, of the whole process"
_ROUNDS: Final = 3
_LIMIT: Final = 80.0  # MB
_LARGE: Final = "kev run gKeOS, RAM of 64 GiB"
_COMMANDS: Final = {
    "kev --version": ("--version",),
    "kev run gKeOS, RAM of 64 MiB": ("run", "gKeOS", "-m", "64M"),
    _LARGE: ("run", "gKeOS", "-m", "64G"),
}


def measure(quick: bool) -> list[Result]:
    samples = repeat(_ROUNDS, quick, lambda: {name: _peak(*arguments) for name, arguments in _COMMANDS.items()})
    return [Measurement(name, "MB", values, _LIMIT if name == _LARGE else None) for name, values in samples.items()]


def _peak(*arguments: str) -> float:
    command = [sys.executable, "-m", "bench.resident", *arguments]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    return int(output.split()[-1]) / 1e6
