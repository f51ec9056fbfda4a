"""What is imported, and how soon a guest is heard of after a command was typed."""

import os
import re
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import Final

from bench.machines import QEMU, QEMU_MISSING, qemu_command, seconds_until_output
from bench.measurement import Measurement, Result, Skipped, repeat

TITLE: Final = "start of the command"
_ROUNDS: Final = 15
_KEV: Final = (sys.executable, "-m", "kev")
_IMPORTED: Final = re.compile(r"^import time: +([0-9]+) \|", re.MULTILINE)
_GUEST: Final = "mb1"
_BANNER: Final = b"gKeOS, a KeOS-style guest kernel"
_LIMIT: Final = 60.0  # milliseconds

_VERSION: Final = "imports of kev --version"
_RUN: Final = f"imports of kev run {_GUEST}"
_KEV_FIRST: Final = f"kev run {_GUEST}: start to first output"
_PROCESSOR: Final = ", time of processors"
_QEMU_FIRST: Final = f"QEMU, -kernel {_GUEST}: start to first output"


def measure(quick: bool) -> list[Result]:
    """Bytecode is cached, as it is once kev has run, whatever the environment of this process says about that."""
    with TemporaryDirectory() as cache:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        samples = repeat(_ROUNDS, quick, lambda: _measure_once(environment))
    results: list[Result] = [
        Measurement(name, "ms", values, _LIMIT if name == _VERSION else None) for name, values in samples.items()
    ]
    return results if QEMU is not None else [*results, Skipped(_QEMU_FIRST, QEMU_MISSING)]


def _measure_once(environment: dict[str, str]) -> dict[str, float]:
    samples = {_VERSION: _import_time(environment, "--version"), _RUN: _import_time(environment, "run", _GUEST)}
    kev = seconds_until_output([*_KEV, "run", _GUEST], _BANNER, environment)
    samples[_KEV_FIRST], samples[_KEV_FIRST + _PROCESSOR] = kev.clock * 1e3, kev.processor * 1e3
    if QEMU is not None:
        with qemu_command(_GUEST) as command:
            qemu = seconds_until_output(command, _BANNER)
        samples[_QEMU_FIRST], samples[_QEMU_FIRST + _PROCESSOR] = qemu.clock * 1e3, qemu.processor * 1e3
    return samples


def _import_time(environment: dict[str, str], *arguments: str) -> float:
    """Milliseconds that all imports of a command take together, Python's own at its start included."""
    command = [sys.executable, "-X", "importtime", "-m", "kev", *arguments]
    process = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return sum(map(int, _IMPORTED.findall(process.stderr))) / 1e3
