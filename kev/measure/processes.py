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

BANNER = b"gKeOS, a KeOS-style guest kernel"
"""What the guest and its Multiboot 1 twin say first."""
_TIMEOUT = 60.0


def measure_process(command: Sequence[str]) -> Metrics:
    """Starts `command` and ends it when the banner begins. BenchError if it ends itself before."""
    # Bytecode is kept, as it is where packages are installed and not edited.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        try:
            arrived = _await_banner(process)
        finally:
            process.kill()
    return {"first_output_ms": (arrived - began) * 1e3}


def _await_banner(process: "subprocess.Popen[bytes]") -> float:
    """When the first byte of the banner came; what comes before it may be a firmware's."""
    assert process.stdout is not None
    assert process.stderr is not None
    output, began = b"", None
    while BANNER not in output:
        chunk = os.read(process.stdout.fileno(), 65536)
        if not chunk:
            error = process.stderr.read().decode(errors="replace").strip()
            raise BenchError(f"{process.args!r} ended without the guest's banner: {error}")
        arrived = time.perf_counter()
        output += chunk
        if began is None and _begins_banner(output):
            began = arrived
    assert began is not None
    return began


def _begins_banner(output: bytes) -> bool:
    """Whether the end of what was read so far is the banner, or as much of it as there is."""
    return any(BANNER.startswith(output[start : start + len(BANNER)]) for start in range(len(output)))


def kev_run() -> tuple[str, ...]:
    """The command line of `kev run gKeOS`."""
    script = Path(sys.executable).with_name("kev")
    return (str(script), "run", "gKeOS") if script.exists() else (sys.executable, "-m", "kev", "run", "gKeOS")


def qemu_run(multiboot1_image: Path, memory: int) -> tuple[str, ...] | None:
    """The command line of the Multiboot 1 twin on QEMU without a firmware's menu or devices; None if there is no QEMU."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        return None
    machine = ("-accel", "tcg", "-m", str(memory >> 20), "-nodefaults", "-display", "none")
    return (qemu, *machine, "-serial", "stdio", "-kernel", str(multiboot1_image))


def version_of(command: Sequence[str]) -> str:
    """The first line of what a program says with --version."""
    result = subprocess.run([command[0], "--version"], capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    return result.stdout.partition("\n")[0]
