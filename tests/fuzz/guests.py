"""Random guests, run as any guest is, half of them repeatably."""

from typing import Final

import kev
from kev.errors import KevError
from tests.fuzz.streams import image
from tests.pager.sources import BytesSource

TIMEOUT: Final = 0.02
_PAGES: Final = 4096
_OUTPUT: Final = 1 << 16


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
