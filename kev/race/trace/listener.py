"""Who wants to know what happens in a run: oracles, and whoever writes it down."""

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Final

from kev.exits import Access
from kev.pager.pages import PageEvent
from kev.race.trace.program import Verb
from kev.race.trace.run import Subscriptions
from kev.race.trace.source import InjectedFailure


class Listener:
    """Is told of what happens, as it happens; of that for which a subclass has a method of its own. Pages are numbers."""

    __slots__ = ()

    def stepped(self, vcpu: int) -> None:
        """`vcpu` takes its next step."""

    def called(self, vcpu: int, verb: Verb, page: int) -> None:
        """The vCPU turns to the pager, to evict or prefetch from `page` on."""

    def violated(self, vcpu: int, page: int, access: Access) -> None:
        """An access finds the page unmapped."""

    def accessed(self, vcpu: int, page: int, access: Access, contents: bytes) -> None:
        """An access went through. `contents` is all of the page, as the vCPU saw it; after the store, for a write."""

    def stored(self, vcpu: int, page: int, offset: int, value: int) -> None:
        """8 bytes were stored, before `accessed`."""

    def began(self, vcpu: int, pages: range) -> None:
        """The pager claimed the pages, to load them."""

    def waited(self, vcpu: int, page: int) -> None:
        """The vCPU begins to wait for somebody else's load."""

    def fill_began(self, vcpu: int, pages: range) -> None:
        """The source of the pages was asked for their bytes."""

    def filled(self, vcpu: int, pages: range) -> None:
        """All their bytes are there."""

    def fill_failed(self, vcpu: int, pages: range) -> None:
        """The source failed, as the program says."""

    def fill_cancelled(self, vcpu: int, pages: range) -> None:
        """Whoever awaited the source gave up."""

    def mapped(self, vcpu: int, pages: range) -> None: ...

    def unmapped(self, vcpu: int, pages: range) -> None: ...

    def published(self, vcpu: int, pages: range) -> None:
        """The pager says that the pages are Present."""

    def given_up(self, vcpu: int, pages: range, event: PageEvent) -> None:
        """The pager says that the load of the pages came to nothing."""

    def blocked(self, vcpu: int, page: int) -> None:
        """The vCPU cannot go on before somebody wakes it; it reached for `page` last."""

    def woke(self, vcpu: int, other: int) -> None:
        """`other` was blocked and can go on."""

    def cancelled(self, vcpu: int, other: int) -> None:
        """What `other` was doing in the pager is given up."""

    def load_error(self, vcpu: int, page: int, error: InjectedFailure, began: int) -> None:
        """What the vCPU asked of the pager in step `began` ends with what a source failed with. An access is tried again."""

    def prefetch_failed(self, vcpu: int, error: InjectedFailure) -> None:
        """What the vCPU wanted to prefetch could not be loaded. It does not matter."""

    def raised(self, vcpu: int, error: Exception) -> None:
        """The vCPU ended with an error that nothing in its program accounts for."""

    def failed(self, vcpu: int) -> None:
        """Something was done wrong, for the first time in the run."""

    def done(self, vcpu: int) -> None:
        """The vCPU has done everything it had to do."""

    def finished(self, vcpu: int) -> None:
        """All of them have."""

    def stuck(self, vcpu: int) -> None:
        """Some have not, and none can go on."""

    def endless(self, vcpu: int) -> None:
        """The run takes more steps than any program needs."""


_EVENTS: Final = tuple(name for name in vars(Listener) if not name.startswith("_"))


SILENCE: Final[Subscriptions] = dict.fromkeys(_EVENTS, ())
"""Nobody is told of anything."""


@cache
def _wanted(kinds: tuple[type[Listener], ...]) -> tuple[tuple[str, int], ...]:
    """Which of these classes want to know of which event."""
    everything = product(_EVENTS, range(len(kinds)))
    return tuple((event, index) for event, index in everything if getattr(kinds[index], event) is not vars(Listener)[event])


def subscriptions(listeners: Sequence[Listener]) -> Subscriptions:
    """Whom to tell, by the name of the event."""
    told = dict(SILENCE)
    for event, index in _wanted(tuple(map(type, listeners))):
        told[event] += (getattr(listeners[index], event),)
    return told
