"""Other programs that a measurement asks, and waits for."""

import subprocess
from collections.abc import Sequence

from kev.work.stoppable import start_stoppably
from kev.work.stopping import stopped_while_waiting


def answer_of(command: Sequence[str], text: str | None = None, timeout: float | None = None) -> "subprocess.CompletedProcess[str]":
    """How a program ended that is given `text`, and what it printed; `timeout` in seconds.

    Stopped if a signal that is noted comes, subprocess.TimeoutExpired if it takes longer.
    """
    start_stoppably()
    with stopped_while_waiting():
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout, check=False)
