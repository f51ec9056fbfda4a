"""QEMU's own snapshots of a running machine: migration to a file, and from it.

QEMU 9.0 and later write pages at fixed offsets of the file (`mapped-ram`); those before write a stream, through a program. Either
is read as a whole before the guest goes on.
"""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import attrs

from kev.measure.case import Metrics
from kev.measure.errors import BenchError
from kev.measure.processes import version_of
from kev.work.stoppable import start_stoppably
from kev.work.stopping import stopped_while_waiting

_TIMEOUT: Final = 60.0
_MAPPED_RAM: Final = (9, 0)
"""The first version with mapped-ram (QEMU documentation, "mapped-ram")."""
_POLL: Final = 0.0005
"""Seconds."""
_ATTEMPTS: Final = 50
_UNLIMITED: Final = 1 << 40
"""Bytes a second, which QEMU would limit otherwise."""


@attrs.frozen(slots=True)
class QemuSnapshot:
    """A machine of QEMU that was saved."""

    machine: tuple[str, ...]
    """The command line that runs it; COM1 is its standard output."""
    file: Path
    mapped_ram: bool

    @classmethod
    def save(cls, machine: Sequence[str], file: Path, after: bytes, before: bytes, attempts: int = _ATTEMPTS) -> Self:
        """Runs a machine until it has printed `after`, and saves it there.

        BenchError if it has always printed `before`, too, by the time that it stands still: nobody can stop it at a place.
        """
        saved = cls(tuple(machine), file, _version(machine) >= _MAPPED_RAM)
        if not any(saved._try_to_save(after, before) for _ in range(attempts)):
            raise BenchError(f"QEMU's guest had printed {before.decode()!r} before it was stopped, in {attempts} attempts")
        return saved

    def _try_to_save(self, after: bytes, before: bytes) -> bool:
        with self._started(("-no-shutdown",)) as (process, monitor):
            printed = _read_until(process, after)
            monitor.execute("stop")
            if before in printed + _printed_so_far(process):
                return False
            self._set_capabilities(monitor)
            monitor.execute("migrate-set-parameters", {"max-bandwidth": _UNLIMITED})
            monitor.execute("migrate", {"uri": self.saving})
            monitor.await_migration()
        return True

    @property
    def saving(self) -> str:
        """Where the machine is migrated to, as QEMU writes it."""
        return f"file:{self.file}" if self.mapped_ram else f"exec:cat > {self.file}"

    @property
    def restoring(self) -> str:
        """Where it is migrated from."""
        return f"file:{self.file}" if self.mapped_ram else f"exec:cat {self.file}"

    @property
    def method(self) -> str:
        """In words, how it was saved."""
        return f"migrate {self.saving}" + (", mapped-ram" if self.mapped_ram else " (mapped-ram is in QEMU 9.0 and later)")

    @property
    def command(self) -> tuple[str, ...]:
        """What makes a machine go on: then `migrate-incoming`, and `cont` when all of it is there."""
        return (*self.machine, "-qmp", f"unix:{self._socket}", "-incoming", "defer")

    def measure(self, text: bytes) -> Metrics:
        """From exec until the machine, which goes on, has printed `text`. BenchError if it ends before."""
        began = time.perf_counter()
        with self._started(("-incoming", "defer")) as (process, monitor):
            self._set_capabilities(monitor)
            monitor.execute("migrate-incoming", {"uri": self.restoring})
            monitor.await_migration()
            monitor.execute("cont")
            _read_until(process, text)
            return {"line_ms": (time.perf_counter() - began) * 1e3}

    def _set_capabilities(self, monitor: "_Monitor") -> None:
        if self.mapped_ram:
            monitor.execute("migrate-set-capabilities", {"capabilities": [{"capability": "mapped-ram", "state": True}]})

    @property
    def _socket(self) -> Path:
        return self.file.with_suffix(".qmp")

    @contextmanager
    def _started(self, more: Sequence[str]) -> Iterator[tuple["subprocess.Popen[bytes]", "_Monitor"]]:
        """QEMU, and its monitor; it is ended behind the block."""
        self._socket.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._socket))
            listener.listen()
            listener.settimeout(_TIMEOUT)
            command = (*self.machine, "-qmp", f"unix:{self._socket}", *more)
            start_stoppably()
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                try:
                    with stopped_while_waiting():
                        connection, _ = listener.accept()
                        with connection:
                            connection.settimeout(_TIMEOUT)
                            yield process, _Monitor(connection)
                except OSError as error:
                    raise BenchError(f"{command[0]}: its monitor does not answer: {error}") from error
                finally:
                    process.kill()


class _Monitor:
    """QEMU's monitor, as programs use it (QEMU documentation, "QEMU Machine Protocol")."""

    def __init__(self, connection: socket.socket) -> None:
        self._file: Final = connection.makefile("rwb")
        self._read()
        self.execute("qmp_capabilities")

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """What `command` returns. BenchError if it fails."""
        self._file.write(json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n")
        self._file.flush()
        while True:
            answer = self._read()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise BenchError(f"QEMU: {command}: {answer['error']['desc']}")

    def await_migration(self) -> None:
        """Returns when the machine has been written, or read. BenchError if it cannot be."""
        deadline = time.perf_counter() + _TIMEOUT
        while (status := self.execute("query-migrate").get("status")) != "completed":
            if status in ("failed", "cancelled") or time.perf_counter() > deadline:
                raise BenchError(f"QEMU: migration: {status}")
            time.sleep(_POLL)

    def _read(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise BenchError("QEMU has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _version(command: Sequence[str]) -> tuple[int, ...]:
    found = re.search(r"version (\d+)\.(\d+)", version_of(command))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _read_until(process: "subprocess.Popen[bytes]", text: bytes) -> bytes:
    assert process.stdout is not None
    printed = b""
    while text not in printed:
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            raise BenchError(f"{process.args!r} ended without printing {text!r}")
        printed += data
    return printed


def _printed_so_far(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    try:
        return os.read(process.stdout.fileno(), 65536)
    except BlockingIOError:
        return b""
    finally:
        os.set_blocking(process.stdout.fileno(), True)
