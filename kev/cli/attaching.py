"""A terminal that is one with the console of a machine of a service."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from kev.cli.console_reader import ConsoleReader
from kev.cli.standard_output import StandardOutput
from kev.errors import KevError
from kev.machine.ending import EXIT_CODE_DIED
from kev.machine.terminal_keys import EscapeFilter, Key, TerminalMode
from kev.service.client import Client, Refused
from kev.work.stopping import heeded

_READ_SIZE: Final = 4096
_LOOK_AGAIN: Final = 0.1
"""Seconds between two looks whether the guest has taken some of what was typed."""


def attach(client: Client, machine: dict[str, Any], lines: int | None) -> int:
    """Shows the last `lines` of what the guest has printed, or all, then goes on with it and types what is typed here.

    On a terminal, every key is the guest's, Ctrl-C too, but for Ctrl-A x: that leaves, and the machine goes on. The exit code: the
    guest's when it has ended, 0 when it was left. KevError.
    """
    output = _Output(client.another(), machine, lines)
    output.start()
    try:
        left = _type(client, machine["id"], output)
    finally:
        output.is_wanted = False
    if left:
        sys.stderr.write(f"\nkev: left {machine['name']}, which goes on\n")
        return 0
    if output.error is not None:
        raise output.error
    return _ended(client, machine["id"])


def _ended(client: Client, machine: str) -> int:
    """Says how, if the guest has not ended itself."""
    found = client.machine(machine)
    ending = found["ending"]
    if ending is None:
        sys.stderr.write(f"kev: {found['message'] or 'the machine is ' + found['state']}\n")
        return EXIT_CODE_DIED
    if ending["kind"] != "exited":
        sys.stderr.write(f"kev: {ending['message']}\n")
    code: int = ending["exit_code"]
    return code


class _Output(threading.Thread):
    """Prints what the guest does, until its end."""

    def __init__(self, client: Client, machine: dict[str, Any], lines: int | None) -> None:
        super().__init__(name="output", daemon=True)
        self.over, self._end = os.pipe()
        """Readable when it is over."""
        self.error: KevError | None = None
        """Why, if it is not the guest's end."""
        self.is_wanted = True
        self._client: Final = client
        self._reader: Final = ConsoleReader(client, machine)
        self._lines: Final = lines

    def run(self) -> None:
        output, reader = StandardOutput(lambda: not self.is_wanted), self._reader
        try:
            output.write(reader.past() if self._lines is None else reader.last_lines(self._lines))
            while self.is_wanted and not reader.is_over:
                output.write(reader.more())
        except KevError as error:
            self.error = error
        finally:
            self._client.close()
            os.close(self._end)


def _type(client: Client, machine: str, output: _Output) -> bool:
    """Types what stands on standard input, until there is no output any more. Whether it was left before."""
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, ValueError, OSError):
        descriptor = None
    if descriptor is None:
        select.select([output.over], [], [])
        return False
    mode = TerminalMode(descriptor, signals=False)
    keys = EscapeFilter({Key.LEAVE}) if mode.is_terminal else None
    mode.enter()
    handlers: dict[int, Callable[..., None]] = {
        signal.SIGTSTP: lambda *_: _stop(mode),
        signal.SIGCONT: lambda *_: _enter_again(mode),
    }
    before = {number: signal.signal(number, handlers[number]) for number in heeded(tuple(handlers))}
    try:
        while data := _next(descriptor, output.over):
            for typed in (data,) if keys is None else keys.feed(data):
                if isinstance(typed, Key):
                    return True
                if not _typed(client, machine, typed, output.over):
                    break
        select.select([output.over], [], [])
        return False
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        mode.leave()


def _stop(mode: TerminalMode) -> None:
    """The shell gets the terminal as it was."""
    mode.leave()
    os.kill(os.getpid(), signal.SIGSTOP)


def _enter_again(mode: TerminalMode) -> None:
    """The shell has had the terminal meanwhile."""
    mode.leave()
    mode.enter()


def _next(descriptor: int, over: int) -> bytes:
    """What is typed next; nothing at its end, or when the output is over."""
    ready = select.select([descriptor, over], [], [])[0]
    if over in ready:
        return b""
    try:
        return os.read(descriptor, _READ_SIZE)
    except OSError:
        return b""


def _typed(client: Client, machine: str, data: bytes, over: int) -> bool:
    """Whether the guest has got it: not if it has ended meanwhile. While it takes nothing, more waits here."""
    while True:
        try:
            client.type(machine, data)
        except Refused as refused:
            if client.machine(machine)["state"] in ("ended", "lost"):
                return False
            if refused.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise
            select.select([over], [], [], _LOOK_AGAIN)
        else:
            return True
