"""Launching a guest that is debugged, which is what `kev run --gdb` does."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from kev.gdb.address import parse_address
from kev.gdb.server import serve
from kev.machine.api import Image, opened

if TYPE_CHECKING:
    from kev.machine.machine import Machine
    from kev.machine.run_report import RunReport
    from kev.pager.policy import PagingPolicy


def debug(
    image: Image,
    *,
    address: str,
    wait: bool,
    output: Callable[[bytes], object],
    listening: Callable[[str], object],
    timeout: float | None = None,
    input_descriptor: int | None = None,
    interrupt_ends: bool = True,
    paging: "PagingPolicy | None" = None,
    **wishes: Any,
) -> "RunReport":
    """Launches a kernel and runs it to its end, as `kev.launch` does, served to debuggers at `address`.

    `address` is `[HOST:]PORT` or `unix:PATH`. `wait`: the guest does not begin before a debugger says so. `listening` is given what
    to connect to. In the run of a `seed`, debuggers may go back. `interrupt_ends`: Ctrl-C is an `Ending`, and no KeyboardInterrupt.
    KevError for whatever is wrong with the image, the wishes or the address.
    """
    where = parse_address(address)

    def opener(repeating: bool) -> AbstractContextManager["Machine"]:
        # What is repeated is the same whenever its pages are loaded.
        return opened(image, paging=None if repeating else paging, **wishes)

    report = trio.run(
        partial(
            serve,
            opener,
            where,
            wait=wait,
            output=output,
            listening=listening,
            timeout=timeout,
            input_descriptor=input_descriptor,
            watch_signals=True,
        )
    )
    if report.was_interrupted and not interrupt_ends:
        raise KeyboardInterrupt
    return report
