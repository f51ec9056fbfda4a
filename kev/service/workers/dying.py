"""How a process ends with the one that it belongs to, and how that is said."""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent: int) -> None:
    """This process is killed when `parent`, the one that has started it, is gone (prctl(2), PR_SET_PDEATHSIG). On Linux only.

    Elsewhere it has to notice by itself that the other end of its stream is closed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def how_it_ended(code: int) -> str:
    """`code` is the exit code, or negative the signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
