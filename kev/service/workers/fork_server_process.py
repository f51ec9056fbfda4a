"""The fork server, as the process that has started it."""

import json
import os
import socket
import subprocess
import sys
from types import TracebackType
from typing import Final, Self

from kev import log
from kev.service.errors import NoWorker
from kev.work.stoppable import start_stoppably

_PROGRAM: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from kev.service.workers.fork_server import main
main()
"""
"""With the modules that this process has."""


class ForkServerProcess:
    """Runs until its block is left, or the thread that has made it ends. Any number of services may have workers of it."""

    def __init__(self) -> None:
        """NoWorker if the host has no process for it."""
        self._control, theirs = socket.socketpair()
        arguments = [json.dumps(sys.path), str(theirs.fileno()), str(os.getpid()), log.level()]
        start_stoppably()
        try:
            with theirs:
                self._process: Final = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    process_group=0,
                )
        except OSError as error:
            self._control.close()
            raise NoWorker(f"the process that workers are forked from cannot be started: {error.strerror}") from error

    @property
    def number(self) -> int:
        """Of the process, with the operating system."""
        return self._process.pid

    def connect(self) -> socket.socket:
        """A client's stream. It is answered as soon as everything is imported."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"\0"], [theirs.fileno()])
        return ours

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()
