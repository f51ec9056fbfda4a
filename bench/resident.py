"""`python -m bench.resident ARGUMENT...`: runs `kev ARGUMENT...`, then prints the process's peak memory in bytes."""

import atexit
import resource
import sys
from pathlib import Path
from typing import Final

from kev.__main__ import main
from kev.addressing import KIB

_STATUS: Final = Path("/proc/self/status")


def peak() -> int:
    """Bytes of resident memory at the peak.

    Where there is a choice, not what `getrusage` says: that begins with the memory of the process that started this one.
    """
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * KIB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * KIB


if __name__ == "__main__":
    atexit.register(lambda: print(peak()))
    main()
