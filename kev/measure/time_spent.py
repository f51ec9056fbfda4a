"""Where the time of a run went: one run more, with a clock at each exit, and under perf where that is there."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from kev.measure.dialogue import Dialogue
from kev.measure.errors import BenchError
from kev.measure.programs import answer_of
from kev.spec.machine_spec import MachineSpec

_SAMPLES: Final = 499
"""A second: enough for a run of some seconds, and out of step with what happens once a millisecond."""
ENGINE: Final = "engine"
TRANSLATED: Final = "translated code"
HOST_KERNEL: Final = "host kernel"
PYTHON: Final = "Python and the C library"


def time_spent(spec: MachineSpec, dialogue: Dialogue, folder: Path) -> dict[str, float]:
    """Milliseconds of processor time by what it was spent on. BenchError if the run comes to nothing.

    With perf, all of it by whose instructions they were: `ENGINE`, `TRANSLATED`, `PYTHON`, `HOST_KERNEL`. Without, what is not
    Python's answer to an exit is not told apart. In either case, of Python's, what came before the first instruction, and what the
    answers to each kind of exit took.
    """
    samples = folder / "perf.data"
    perf = _find_perf()
    recording = [] if perf is None else [perf, "record", "-q", "-e", "cpu-clock", "-F", str(_SAMPLES), "-o", str(samples), "--"]
    found = _run([*recording, sys.executable, "-m", "kev.measure.timed_run"], spec, dialogue)
    exits = {f"exits: {kind}": seconds * 1e3 for kind, seconds in found["exits"].items() if found["counts"].get(kind)}
    parts = {"all": found["all"] * 1e3}
    if perf is not None:
        parts |= {part: share * parts["all"] for part, share in _shares(perf, samples).items()}
    return parts | {"before the first instruction": found["before"] * 1e3} | exits


def _find_perf() -> str | None:
    """The program, if it may be used here."""
    perf = shutil.which("perf")
    if perf is None:
        return None
    test = answer_of([perf, "record", "-q", "-e", "cpu-clock", "-o", "/dev/null", "true"])
    return None if test.returncode else perf


def _run(command: list[str], spec: MachineSpec, dialogue: Dialogue) -> dict[str, Any]:
    wanted = {"spec": spec.to_dict(), "until": dialogue.until, "answers": dialogue.answers, "timeout": dialogue.timeout}
    result = answer_of(command, json.dumps(wanted))
    if result.returncode:
        raise BenchError(f"{spec.image}: where its time goes cannot be found out: {result.stderr.strip().rpartition(chr(10))[2]}")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def _shares(perf: str, samples: Path) -> dict[str, float]:
    command = [perf, "report", "-i", str(samples), "--stdio", "--sort", "dso", "--field-separator", "\t"]
    report = answer_of(command)
    report.check_returncode()
    shares = dict.fromkeys((ENGINE, TRANSLATED, PYTHON, HOST_KERNEL), 0.0)
    for share, library in _lines(report.stdout):
        shares[_part(library)] += share / 100
    return shares


def _lines(report: str) -> Iterator[tuple[float, str]]:
    for line in report.splitlines():
        if line and not line.startswith("#"):
            share, _, library = line.partition("\t")
            yield float(share.strip().rstrip("%")), library.strip()


def _part(library: str) -> str:
    """What a sample belongs to, by the library that perf found it in."""
    if library.startswith("[kernel") or library == "[guest.kernel.kallsyms]":
        return HOST_KERNEL
    if library.startswith("libunicorn") or library.partition("-")[0] in ("blocks", "shortcuts", "tlb"):
        return ENGINE
    if library.startswith(("[JIT]", "//anon", "[unknown]", "anon")):
        return TRANSLATED
    return PYTHON
