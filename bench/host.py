"""The machine that the figures are of."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench.machines import QEMU
from kev.version import __version__


def describe() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} logical",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "unicorn": version("unicorn"),
        "kev": __version__,
        "qemu": _qemu_version(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _qemu_version() -> str:
    if QEMU is None:
        return "not installed"
    output = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    return output.partition("\n")[0].removeprefix("QEMU emulator version ")
