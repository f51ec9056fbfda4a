"""Processes that run a guest: talked to until it prints a line, and measured by the clock and in time of processors."""

import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from signal import SIGKILL
from typing import Final

import attrs

from kev.measure.case import Metrics
from kev.measure.errors import BenchError
from kev.work.stoppable import start_stoppably
from kev.work.stopping import stopped_while_waiting

_LAST_WORDS: Final = 200
"""Characters of what a process printed last, for messages."""


@attrs.frozen(slots=True)
class Dialogue:
    """What is typed, and where a run is measured to."""

    until: str = ""
    """What the guest prints then; empty for whatever it prints first."""
    answers: tuple[tuple[str, str], ...] = ()
    """When the guest has printed the first, behind what was printed before, the second is typed; one after the other."""
    timeout: float = 600.0
    """Seconds in which it has to come."""

    def measure(self, command: Sequence[str]) -> Metrics:
        """Starts a process, and ends it when the line has come: times from exec on. BenchError if it does not come."""
        # Bytecode is kept, as it is where packages are installed and not edited.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        began = time.perf_counter()
        pipe = subprocess.PIPE
        start_stoppably()
        with subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe, env=environment) as process:
            try:
                with stopped_while_waiting():
                    self._talk(process, began + self.timeout)
                came = time.perf_counter()
            finally:
                # `Popen` would not say what the process has used.
                os.kill(process.pid, SIGKILL)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
        return {
            "line_ms": (came - began) * 1e3,
            "processor_ms": (usage.ru_utime + usage.ru_stime) * 1e3,
            "host_kernel_ms": usage.ru_stime * 1e3,
        }

    def _talk(self, process: "subprocess.Popen[bytes]", deadline: float) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        output, answered = b"", 0
        wanted = [*((prompt.encode(), answer.encode()) for prompt, answer in self.answers), (self.until.encode(), b"")]
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            for text, answer in wanted:
                while (found := output.find(text, answered)) < 0 or not output:
                    if not selector.select(deadline - time.perf_counter()):
                        raise self._did_not_come(process, text, output, f"in {self.timeout:g} s")
                    chunk = os.read(process.stdout.fileno(), 65536)
                    if not chunk:
                        raise self._did_not_come(process, text, output, "before it ended")
                    output += chunk
                answered = found + len(text)
                with suppress(BrokenPipeError):  # it has ended: what it did not print says so
                    process.stdin.write(answer)

    def _did_not_come(self, process: "subprocess.Popen[bytes]", text: bytes, output: bytes, when: str) -> BenchError:
        os.kill(process.pid, SIGKILL)
        assert process.stderr is not None
        said = (output + process.stderr.read()).decode(errors="replace").strip()[-_LAST_WORDS:]
        assert isinstance(process.args, Sequence)
        return BenchError(f"{' '.join(map(str, process.args))}: {text.decode()!r} did not come {when}; it printed last: {said!r}")
