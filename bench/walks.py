"""How long the ways through the program are: the Python calls from when the CPU calls back until it goes on.

Counted with `sys.setprofile`, and not timed. A call is a function, a comprehension, or a generator that is resumed.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Final, NamedTuple, TypeAlias

from bench.machines import launched
from bench.measurement import Measurement, Result
from kev.engine.amdv.libunicorn import EmulatedCpu
from kev.guests.catalogue import find_guest
from kev.guests.disk import drives_of
from kev.machine.builder import MachineOptions
from kev.machine.launcher import run

TITLE: Final = "Python calls of a walk"

Walk: TypeAlias = tuple[str, ...]
"""The qualified names of what was called, in order."""


class Way(NamedTuple):
    """A walk that is worth a number."""

    name: str
    guest: str
    passes: Sequence[str]
    """Functions that such a walk calls, and others do not."""
    limit: float
    begins_before: str | None = None
    """A function of the callback before this one, which is part of the walk."""


_WAYS: Final = (
    Way("violation: the first page of zeros of 2 MiB", "touch", ("KernelVmPager.try_lazy_paging", "Zeros.fill"), 40),
    Way("port write: a character to COM1", "gKeOS", ("SerialPort.write_port", "Console.put"), 13),
    Way("disk request: svirtb", "block", ("SimpleVirtioBlock._serve",), 60, begins_before="ViolationController.handle"),
    Way("disk request: virtio-blk over MMIO", "virtio", ("VirtioMmio.write_mmio", "VirtioBlock.serve"), 60),
)


def measure(quick: bool) -> list[Result]:
    """The shortest of each kind and the longest, beside the median: some walks have more to do. Quick or not is the same."""
    walks = {guest: _walks_of(guest) for guest in dict.fromkeys(way.guest for way in _WAYS)}
    return [Measurement(way.name, "calls", list(_lengths(way, walks[way.guest])), way.limit) for way in _WAYS]


def _lengths(way: Way, walks: Sequence[Walk]) -> Iterator[int]:
    before: Walk = ()
    for walk in walks:
        if all(name in walk for name in way.passes):
            yield len(walk) + (len(before) if way.begins_before in before else 0)
        before = walk


def _walks_of(guest: str) -> list[Walk]:
    """Of a whole run, from its beginning to its end."""
    walks: list[Walk] = []
    with ExitStack() as stack:
        found = find_guest(guest)
        drives = () if found is None else drives_of(found)
        machine = stack.enter_context(launched(guest, MachineOptions(drives=drives)))
        stack.enter_context(_recording(walks))
        run(machine)
    return walks


@contextmanager
def _recording(walks: list[Walk]) -> Iterator[None]:
    """Appends to `walks` what is called inside every callback of the CPU."""
    emulate = EmulatedCpu.run.__code__
    names: list[str] = []
    outermost: FrameType | None = None

    def note(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal outermost
        if event == "call":
            if outermost is None and frame.f_back is not None and frame.f_back.f_code is emulate:
                outermost = frame
                names.clear()
            if outermost is not None:
                names.append(frame.f_code.co_qualname)
        elif event == "return" and frame is outermost:
            outermost = None
            walks.append(tuple(names))

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
