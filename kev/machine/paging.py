"""The paging policy that a text describes, and the files that go with it."""

from collections.abc import Iterator
from contextlib import contextmanager

from kev.pager.policy import Around, Eager, PagingPolicy
from kev.spec.values import paging


@contextmanager
def paging_policy(text: str) -> Iterator[PagingPolicy]:
    """The policy for one run. If all goes well, what it recorded is written when the run is over. KevError."""
    kind, _, value = paging("paging", text).partition("=")
    if kind == "eager":
        yield Eager()
    elif kind == "around":
        yield Around(int(value))
    elif kind == "record":
        yield from _recording(value)
    elif kind == "prefetch":
        yield _prefetch(value)
    else:
        yield PagingPolicy()


def _recording(file: str) -> Iterator[PagingPolicy]:
    from kev.observe.output import check_writable, write_text
    from kev.pager.record import Record

    check_writable(file)
    policy = Record()
    yield policy
    write_text(file, policy.working_set.to_json())


def _prefetch(name: str) -> PagingPolicy:
    from kev.pager.prefetch import Prefetch
    from kev.pager.working_set import WorkingSet

    return Prefetch(WorkingSet.read(name))
