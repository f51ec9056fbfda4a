"""What an EPT violation costs: the guest touch touches pages of every kind, each once.

Measured in process, in CPU time, with everything that belongs to it: finding what fills the page, filling and mapping it, and the
guest going on. Beside it stands what the host itself takes for the first touch of a fresh page, which no pager can do without.
"""

import time
from typing import Final

from bench.guest_constants import read_constant
from bench.host_pages import seconds_of_file_read, seconds_of_zero_fill
from bench.machines import launched
from bench.measurement import Measurement, Result, differences, repeat
from bench.transcript import Transcript
from kev.addressing import PAGE_SIZE, Gpa, page_floor
from kev.machine.launcher import run
from kev.machine.vm import Vm

TITLE: Final = "service time of an EPT violation"
_GUEST: Final = "touch"
_ROUNDS: Final = 15
_LIMIT: Final = 3.0  # microseconds beyond the host's own zero-fill
_ZERO_FILL: Final = "host: first touch of a fresh page (zero-fill)"
_FILE_READ: Final = "host: read of a page of a file into a fresh page"
_PHASES: Final = (
    ("page of zeros, written", b"w", b"r", "written_pages", False),
    ("page of a file, read", b"r", b"x", "read_pages", False),
    ("page of code, executed", b"x", b"\n", "executed_pages", True),
)
"""What the guest does to each page, the marks before and behind it on COM1, the symbol that says to how many pages, and whether
that takes long without a violation, too: code is translated."""


def measure(quick: bool) -> list[Result]:
    pages = {name: read_constant(_GUEST, symbol) for name, _, _, symbol, _ in _PHASES}
    samples = repeat(_ROUNDS, quick, lambda: _measure_once(pages))
    zero_fill = samples[_ZERO_FILL]
    results: list[Result] = [Measurement(name, "µs", samples[name]) for name in (_ZERO_FILL, _FILE_READ)]
    for name, _, _, _, is_translated in _PHASES:
        present = samples[_present(name)]
        loaded = differences(samples[name], present) if is_translated else samples[name]
        results.append(Measurement(name, "µs", samples[name]))
        results.append(Measurement("  the same without a violation: it was there already", "µs", present))
        beyond = "  the violation alone, beyond the host's zero-fill" if is_translated else "  beyond the host's zero-fill"
        results.append(Measurement(beyond, "µs", differences(loaded, zero_fill), _LIMIT))
    return results


def _measure_once(pages: dict[str, int]) -> dict[str, float]:
    lazy, eager = _touch(eagerly=False), _touch(eagerly=True)
    seconds = {_ZERO_FILL: seconds_of_zero_fill(), _FILE_READ: seconds_of_file_read()}
    for name, first, last, _, _ in _PHASES:
        seconds[name] = lazy.seconds_between(first, last) / pages[name]
        seconds[_present(name)] = eager.seconds_between(first, last) / pages[name]
    return {name: value * 1e6 for name, value in seconds.items()}


def _present(name: str) -> str:
    return f"{name} (present)"


def _touch(eagerly: bool) -> Transcript:
    transcript = Transcript(time.thread_time)
    with launched(_GUEST) as machine:
        if eagerly:
            _load_image(machine.vm)
        transcript.record(machine.vm)
        run(machine)
    return transcript


def _load_image(vm: Vm) -> None:
    image = vm.pager.image
    for page in range(page_floor(image.start), image.end, PAGE_SIZE):
        vm.pager.try_load_page(Gpa(page))
