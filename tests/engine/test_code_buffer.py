"""Room for translated code."""

import resource
import subprocess
import sys

import pytest

from kev.addressing import MIB

LIMITED = """
import resource
import kev.machine.launcher, kev.host_memory
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, ({room} + pages * resource.getpagesize(),) * 2)
from kev.__main__ import main
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and limits address space as Linux does")
def test_a_machine_that_has_no_room_for_translated_code_is_refused_in_a_line() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY
    program = LIMITED.format(room=450 * MIB)
    words = [sys.executable, "-c", program, "run", "hypercalls", "-m", "256M"]
    process = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr == "kev: host memory: cannot reserve 128 MiB for translated code: Cannot allocate memory\n"
