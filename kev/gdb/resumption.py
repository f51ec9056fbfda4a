"""Who goes on, and how: what a vCont packet says (GDB manual, "Packets", vCont)."""

from typing import Final

import attrs

_ALL: Final = -1


@attrs.frozen(slots=True, kw_only=True)
class Resumption:
    """How a debugger lets a machine go on."""

    step: int | None = None
    """The vCPU that is to do a single step; None: nobody."""
    bounds: range | None = None
    """More steps follow as long as its instruction pointer is in here."""
    alone: int | None = None
    """The only vCPU that may run, if it can; None: all. What is repeated is not changed by it."""


def parse_vcont(actions: bytes, vcpu: int) -> Resumption:
    """What the actions of a vCont packet come to; `vcpu` is meant where they name no thread. ValueError if they are malformed.

    The first action that fits a thread is its own. One thread can step at a time; those for which there is no action stand still.
    """
    step: int | None = None
    bounds: range | None = None
    running: set[int] = set()
    for action in actions.split(b";"):
        verb, _, thread = action.partition(b":")
        number = int(thread, 16) if thread else _ALL
        if verb[:1] in (b"c", b"C"):
            running.add(number)
        elif verb[:1] in (b"s", b"S", b"r"):
            if step is None:
                step = number - 1 if number > 0 else vcpu
                bounds = _bounds(verb) if verb[:1] == b"r" else None
        else:
            raise ValueError(f"vCont: there is no action {action!r}")
    if step is not None:
        return Resumption(step=step, bounds=bounds, alone=None if running else step)
    only = running.pop() if len(running) == 1 else _ALL
    return Resumption(alone=only - 1 if only > 0 else None)


def _bounds(verb: bytes) -> range:
    start, end = (int(number, 16) for number in verb[1:].split(b","))
    return range(start, end)
