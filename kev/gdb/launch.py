"""Launching a guest that is debugged, which is what `kev run --gdb` does."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from kev.gdb.address import parse_address
from kev.gdb.once import Once
from kev.gdb.server import serve
from kev.machine.api import Image, check_callbacks, check_how, opened, wanted_machine
from kev.machine.event_log import ExitTrace
from kev.machine.launcher import signals_that_end
from kev.spec.values import boolean, text

if TYPE_CHECKING:
    from typing import Unpack

    from kev.machine.machine import Machine
    from kev.machine.run_report import RunReport
    from kev.spec.wishes import Wishes


def debug(
    image: Image,
    *,
    address: str,
    wait: bool,
    listening: Callable[[str], object],
    output: Callable[[bytes], object],
    logs: Sequence[str] = (),
    log: Callable[[bytes], object] = lambda _: None,
    trace_exits: Callable[[str], object] | None = None,
    warn: Callable[[str], object] | None = None,
    input_descriptor: int | None = None,
    interrupt_ends: bool = False,
    at_start: "Callable[[Machine], object] | None" = None,
    at_end: "Callable[[Machine], object] | None" = None,
    **wishes: "Unpack[Wishes]",
) -> "RunReport":
    """Launches a kernel and runs it to its end, as `kev.launch` does, served to debuggers at `address`.

    `address` is `[HOST:]PORT` or `unix:PATH`. `wait`: the guest does not begin before a debugger says so. `listening` is given what
    to connect to. In the run of a `seed`, debuggers may go back; what it says then was said before, and is not said again.
    KevError for whatever is wrong with the image, the wishes, the callbacks or the address.
    """
    callbacks = {"at_start": at_start, "at_end": at_end, "trace_exits": trace_exits, "warn": warn}
    check_callbacks("listening", "output", "log", listening=listening, output=output, log=log, **callbacks)
    check_how(logs, input_descriptor)
    wait = boolean("wait", wait)
    where = parse_address(text("address", address))
    wanted = wanted_machine(image, wishes)
    lines = Once(log)
    exits = None if trace_exits is None else Once(trace_exits)

    @contextmanager
    def opener(repeating: bool) -> Iterator["Machine"]:
        # What is repeated is the same whenever its pages are loaded.
        lazy = wanted._replace(spec=wanted.spec.replace(paging="lazy"), policy=None)
        with opened(lazy if repeating else wanted, logs, None if repeating else warn) as machine:
            machine.vm.log.subscribe(lines.from_the_beginning())
            if exits is not None:
                machine.observe(ExitTrace(exits.from_the_beginning()))
            if wanted.spec.timeout is not None and not repeating:
                machine.set_time_limit(wanted.spec.timeout)
            if at_start is not None:
                at_start(machine)
            yield machine

    report = trio.run(
        partial(
            serve,
            opener,
            where,
            wait=wait,
            output=output,
            listening=listening,
            timeout=wanted.spec.timeout,
            input_descriptor=input_descriptor,
            signals=signals_that_end(interrupt_ends),
            at_end=at_end,
        )
    )
    if report.was_interrupted and not interrupt_ends:
        raise KeyboardInterrupt
    return report
