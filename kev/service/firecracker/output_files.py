"""Where log, metrics and the serial line go: files and named pipes."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from kev.service.firecracker.resources import Logger

_LEVELS: Final = ("Off", "Error", "Warn", "Info", "Debug", "Trace")
_EXITS: Final = {"IoIn": "exit_io_in", "IoOut": "exit_io_out", "MmioRead": "exit_mmio_read", "MmioWrite": "exit_mmio_write"}
"""Firecracker's names of kinds of exits."""


class OutputFile:
    """A file that is appended to, or a named pipe: what that has no room for is lost."""

    def __init__(self, path: str) -> None:
        """OSError, ValueError."""
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor: Final = os.open(path, flags, 0o644)

    def write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            return

    def close(self) -> None:
        os.close(self._descriptor)


class Log:
    """Lines about what the API was asked for."""

    def __init__(self, instance: str) -> None:
        self._instance: Final = instance
        self._settings = Logger()
        self._file: OutputFile | None = None

    def configure(self, settings: Logger) -> None:
        """OSError, ValueError."""
        if settings.log_path is not None:
            self._file = OutputFile(settings.log_path)
        self._settings = settings

    def write(self, level: str, line: str) -> None:
        most = "Warn" if self._settings.level == "Warning" else self._settings.level
        if self._file is None or _LEVELS.index(level) > _LEVELS.index(most):
            return
        time = datetime.now(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
        shown = f":{level.upper()}" if self._settings.show_level else ""
        self._file.write(f"{time} [{self._instance}:main{shown}] {line}\n".encode())


class MetricsFile:
    """A line of JSON whenever they are asked for."""

    def __init__(self, path: str) -> None:
        """OSError, ValueError."""
        self._file: Final = OutputFile(path)
        self._before: dict[str, int] = {}

    def flush(self, report: Mapping[str, Any]) -> None:
        """Writes what `report`, which is a `RunReport` as a dict, says; counts since the last time, as Firecracker has them."""
        counts = {name: report["exits"].get(exit, 0) for exit, name in _EXITS.items()}
        counts |= {"violations": report["violations"], "pages_loaded": report["pages_loaded"]}
        since = {name: count - self._before.get(name, 0) for name, count in counts.items()}
        self._before = counts
        line = {
            "utc_timestamp_ms": int(datetime.now(UTC).timestamp() * 1000),
            "vcpu": {name: since[name] for name in _EXITS.values()},
            "kev": {name: since[name] for name in ("violations", "pages_loaded")},
        }
        self._file.write(json.dumps(line).encode() + b"\n")
