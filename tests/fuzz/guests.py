"""Random guests: most of them in a machine that goes back to where it had not begun, and has another image then."""

import random
import time
from collections import Counter, deque
from collections.abc import Iterator
from functools import partial
from typing import Final

import kev
import kev.machine.driving  # what all runs need, imported before they are forked
import kev.postmortem.death
from kev.errors import KevError
from kev.machine.api import opened, wanted_machine
from kev.machine.checkpoint import Checkpoint
from kev.machine.ending import Ending, EndingKind
from kev.machine.machine import Machine
from kev.machine.schedule import FreeScheduler, SeededScheduler, TurnScheduler
from kev.machine.step import Idle
from tests.fuzz.contained import Inside, Loss, one_by_one, run_contained, tally
from tests.fuzz.streams import image
from tests.pager.sources import BytesSource

_PAGES: Final = 4096
_OUTPUT: Final = 1 << 16
_TIMEOUT: Final = 0.02
"""Of those that are launched."""
_SECONDS: Final = 0.002
"""Of the processor's time, of the others. Who has not ended then has left its 200 instructions long ago, as a rule."""
_TURN: Final = 0.0005
_MOST_OF_A_TURN: Final = 100
"""Instructions, with a seed: each may be an exit."""
_AT_ONCE: Final = 500
_LAUNCHED: Final = 100
"""One of so many is launched, as any guest is."""
_PATIENCE: Final = 60.0
_SLOW: Final = 2.0  # seconds of the processor


def launch_random_guest(bits: int, number: int) -> str:
    """How the guest of `tests.fuzz.streams.image` ended. What is neither an ending nor a KevError is a bug.

    One with an odd number is run repeatably.
    """
    try:
        run = kev.launch(
            BytesSource(image(bits, number)),
            timeout=_TIMEOUT,
            max_pages=_PAGES,
            max_output=_OUTPUT,
            seed=number if number & 1 else None,
        )
    except KevError:
        return "refused"
    return run.ending.kind.value


def run_random_guests(bits: int, inside: Inside, *, seeded: bool) -> None:
    """Says of each what `launch_random_guest` would have said, but for its time limit.

    Its pages are loaded as it touches them, from its own image, and what was translated of the one before is forgotten.
    """
    numbers = deque(inside.numbers)
    source = BytesSource(image(bits, numbers[0]))
    wanted = wanted_machine(source, {"max_pages": _PAGES, "max_output": _OUTPUT, "seed": 1 if seeded else None})
    while numbers:
        with opened(wanted) as machine:
            machine.vm.note_place = inside.note_place
            checkpoint = Checkpoint(machine.vm)
            while numbers and not machine.vm.engine.is_spoiled:
                number = numbers.popleft()
                source.data = image(bits, number)
                source.reads.clear()
                checkpoint.rewind()
                began = time.thread_time()
                ending = _run(machine, SeededScheduler(number, _MOST_OF_A_TURN) if seeded else FreeScheduler(_TURN))
                slow = " slowly" if time.thread_time() - began > _SLOW else ""
                inside.say(f"{ending.kind.value}{slow}")


def _run(machine: Machine, scheduler: TurnScheduler) -> Ending:
    """Up to its end, by itself or by one of its limits."""
    vm = machine.vm
    end = time.thread_time() + _SECONDS
    while vm.ending is None and time.thread_time() < end:
        if isinstance(vm.step(scheduler), Idle) and not vm.virtual_time:
            break  # it would wait for a timer
    vm.end(Ending.timed_out(_SECONDS))
    assert vm.ending is not None
    if vm.ending.kind is EndingKind.DIED:
        assert machine.post_mortem.death().as_dict()
    return vm.ending


def random_guests(bits: int, first: int, count: int, *, seeded: bool) -> Iterator[tuple[int, str] | Loss]:
    """What came of so many guests from number `first` on, of which some are launched."""
    numbers = range(2 * first + seeded, 2 * (first + count) + seeded, 2)
    launched = count // _LAUNCHED
    yield from run_contained(one_by_one(partial(launch_random_guest, bits)), numbers[:launched], _PATIENCE)
    yield from run_contained(partial(run_random_guests, bits, seeded=seeded), numbers[launched:], _PATIENCE)


def fuzz_guests(bits: int, seconds: float) -> tuple[str, bool]:
    """What came of random guests in so many seconds, and whether kev itself has raised nothing that it should not."""
    counts: Counter[str] = Counter()
    lost: list[Loss] = []
    end = time.monotonic() + seconds
    seeded = False
    while time.monotonic() < end:
        said, losses = tally(random_guests(bits, random.getrandbits(40), _AT_ONCE, seeded=seeded))
        counts.update(said)
        lost += losses
        seeded = not seeded
    return told(counts, lost), not any(loss.is_ours for loss in lost)


def told(counts: Counter[str], lost: list[Loss]) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
    took = f"; {len(lost)} took their process with them: " if lost else ""
    details = ", ".join(f"number {loss.number} {loss.how} ({loss.place})" for loss in lost)
    return f"{sum(counts.values()) + len(lost):,} guests ({kinds}){took}{details}"
