"""Random guests, run as any guest is, half of them repeatably."""

import random
import time
from collections import Counter
from functools import partial
from typing import Final

import kev
import kev.machine.driving  # what all runs need, imported before they are forked
import kev.postmortem.death
from kev.errors import KevError
from tests.fuzz.contained import run_contained, tally
from tests.fuzz.streams import image
from tests.pager.sources import BytesSource

TIMEOUT: Final = 0.02
_PAGES: Final = 4096
_OUTPUT: Final = 1 << 16
_AT_ONCE: Final = 100
_PATIENCE: Final = 60.0


def run_random_guest(bits: int, number: int) -> str:
    """How the guest of `tests.fuzz.streams.image` ended. What is neither an ending nor a KevError is a bug."""
    try:
        run = kev.launch(
            BytesSource(image(bits, number)),
            timeout=TIMEOUT,
            max_pages=_PAGES,
            max_output=_OUTPUT,
            seed=number if number & 1 else None,
        )
    except KevError:
        return "refused"
    return run.ending.kind.value


def fuzz_guests(bits: int, seconds: float) -> tuple[str, bool]:
    """What came of random guests in so many seconds, and whether kev itself has raised nothing that it should not."""
    counts: Counter[str] = Counter()
    lost: list[str] = []
    is_well = True
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        first = random.getrandbits(40)
        said, losses = tally(run_contained(partial(run_random_guest, bits), range(first, first + _AT_ONCE), _PATIENCE))
        counts.update(said)
        lost += (f"number {loss.number} {loss.how}" for loss in losses)
        is_well &= not any(loss.is_ours for loss in losses)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
    took = f"; {len(lost)} took their process with them: {', '.join(lost)}" if lost else ""
    return f"{sum(counts.values()) + len(lost):,} guests ({kinds}){took}", is_well
