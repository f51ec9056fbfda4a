"""Processes that boot a guest, measured from exec to the first byte of its banner."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kev.measure.case import Metrics
from kev.measure.errors import BenchError
from kev.measure.programs import answer_of
from kev.work.stoppable import start_stoppably
from kev.work.stopping import stopped_while_waiting

BANNER = b"gKeOS, a KeOS-style guest kernel"
"""What the guest and its Multiboot 1 twin say first."""
_TIMEOUT = 60.0


def measure_process(command: Sequence[str], text: bytes = BANNER, metric: str = "first_output_ms") -> Metrics:
    """Starts `command` and ends it when `text` begins: that is the one metric. BenchError if it ends itself before."""
    # Bytecode is kept, as it is where packages are installed and not edited.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    start_stoppably()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        try:
            with stopped_while_waiting():
                arrived = _await_text(process, text)
        finally:
            process.kill()
    return {metric: (arrived - began) * 1e3}


def _await_text(process: "subprocess.Popen[bytes]", text: bytes) -> float:
    """When the first byte of `text` came."""
    assert process.stdout is not None
    assert process.stderr is not None
    output, began = b"", None
    while text not in output:
        chunk = os.read(process.stdout.fileno(), 65536)
        if not chunk:
            error = process.stderr.read().decode(errors="replace").strip()
            raise BenchError(f"{process.args!r} ended without printing {text!r}: {error}")
        arrived = time.perf_counter()
        output += chunk
        if began is None and _has_begun(text, output):
            began = arrived
    assert began is not None
    return began


def _has_begun(text: bytes, output: bytes) -> bool:
    """Whether `text` is in what was read so far, or its beginning at the end of that."""
    return any(text.startswith(output[start : start + len(text)]) for start in range(len(output)))


def kev_run(*arguments: str) -> tuple[str, ...]:
    """The command line of `kev run` with these words behind it."""
    script = Path(sys.executable).with_name("kev")
    return (*((str(script),) if script.exists() else (sys.executable, "-m", "kev")), "run", *arguments)


def find_qemu() -> str | None:
    """The program; None if it is not installed."""
    return shutil.which("qemu-system-x86_64")


def qemu_run(multiboot1_image: Path, memory: int) -> tuple[str, ...] | None:
    """The command line of the Multiboot 1 twin on QEMU without a firmware's menu or devices; None if there is no QEMU."""
    qemu = find_qemu()
    if qemu is None:
        return None
    machine = ("-accel", "tcg", "-m", str(memory >> 20), "-nodefaults", "-display", "none")
    return (qemu, *machine, "-serial", "stdio", "-kernel", str(multiboot1_image))


def version_of(command: Sequence[str]) -> str:
    """The first line of what a program says with --version."""
    return answer_of([command[0], "--version"], timeout=_TIMEOUT).stdout.partition("\n")[0]
