"""What every worker needs, done once before any is forked."""

import kev.machine.api
from kev.machine.ending import EndingKind
from kev.machine.start import running

_GUESTS = ("gKeOS",)
"""Guests that come with kev, and touch most of what guests touch."""


def warm_up() -> None:
    """Imports what a machine needs, and runs guests, so that interpreter and emulated CPU have gone all the ways once.

    Leaves no thread behind. A host without its guests is only slower at its first machines.
    """
    import trio

    for guest in _GUESTS:
        trio.run(_run, guest)
    kev.machine.api.rest()


async def _run(guest: str) -> None:
    async with running(guest, {}, paused=True, keeps_output=False) as machine:
        await machine.resume()
        report = await machine.wait()
        assert report.ending.kind is EndingKind.EXITED
        report.as_dict()
