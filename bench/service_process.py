"""`kev serve`, in a process of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

_PATIENCE: Final = 60.0


@contextmanager
def serving(*options: str) -> Iterator[tuple[str, int]]:
    """A service with these options for the block: its unix socket, and its process."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        errors, socket = folder / "errors", folder / "kev.sock"
        words = ["--state-dir", str(folder / "state"), "--listen", f"unix:{socket}", "--on-shutdown", "stop", *options]
        with open(errors, "wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "kev", "serve", "--log-level", "warning", *words], stdin=subprocess.DEVNULL, stderr=out
            )
        try:
            end = time.monotonic() + _PATIENCE
            while "listening" not in errors.read_text():
                assert process.poll() is None, errors.read_text()
                assert time.monotonic() < end, errors.read_text()
                time.sleep(0.05)
            yield str(socket), process.pid
        finally:
            process.terminate()
            process.wait(_PATIENCE)
