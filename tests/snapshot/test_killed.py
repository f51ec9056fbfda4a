"""A process that is killed while it writes a snapshot leaves the old one, or the new one, and nothing between them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.snapshot.files import Image, opened, read_page, surveyed, write

_PROGRAM = """
import sys
from kev.snapshot.writer import SnapshotWriter
from tests.snapshot.files import MACHINE, STATE, Image, surveyed

def done():
    print(flush=True)

while True:
    pages = surveyed({chunk * 512 + 7: "b" for chunk in range(4)}, Image())
    with SnapshotWriter(sys.argv[1], MACHINE, STATE, range(4)) as writer:
        for number, page in pages.items():
            writer.add(number // 512, [page])
            done()
        writer.finish()
        done()
        writer.commit()
        done()
"""


def test_there_is_never_half_a_snapshot(folder: Path) -> None:
    path = folder / "snapshot"
    for steps in (2, 5, 6, 7):
        write(path, surveyed({chunk * 512 + 7: "a" for chunk in range(4)}, Image()))
        program = [sys.executable, "-c", _PROGRAM, str(path)]
        with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(steps):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        memory = opened(path)
        pages = {read_page(memory, chunk * 512 + 7, Image()) for chunk in range(4)}
        assert len(pages) == 1
        for leftover in os.listdir(folder):
            if leftover != "snapshot":
                os.unlink(folder / leftover)
