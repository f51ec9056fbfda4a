"""Signals that come while a run imports what drives it: nothing is waited for any more."""

import subprocess
import sys

import pytest

from tests.cli.importing import ASKED_FIRST

SIGNALLED = """
import signal
class Signaller:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.{number})
ask_first(Signaller())
from kev.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["trio", "kev.machine.driving"])
@pytest.mark.parametrize(("number", "exit_code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_end_of_the_input_is_not_waited_for(module: str, number: str, exit_code: int) -> None:
    program = [sys.executable, "-c", ASKED_FIRST + SIGNALLED.format(module=module, number=number), "run", "spin", "--seed", "1"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.wait(120) == exit_code  # its standard input is open
        assert process.stderr is not None
        said = process.stderr.read()
    assert "vCPU 0 at RIP" in said
    assert "input" not in said
