"""Where a trace run may go on with another vCPU."""

from collections.abc import Generator
from enum import Enum
from types import coroutine
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kev.pager.protocols import Point


class TracePoint(Enum):
    """The scheduling points that are not the pager's."""

    ACCESS = "access"
    """Before a vCPU does what its program says next."""
    ARRIVE = "arrive"
    """Before the bytes that a loader waits for arrive."""
    SHOW = "show"
    """Before others see the oldest store in a store buffer."""


At: TypeAlias = tuple[Point | TracePoint, int]
"""Where a vCPU is suspended: the point, and the guest-physical address of the page it is about; -1 if it is about none."""


class Suspension(tuple[object]):
    """What a vCPU awaits at a scheduling point that it has told of already: it is suspended once."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, None]: ...

    else:
        __await__ = tuple.__iter__  # no frame of Python's: this is resumed very often


POINT: Final = object()
"""What whoever resumes vCPUs is given then."""
SUSPENDED: Final = Suspension((POINT,))


@coroutine
def reach(point: Point | TracePoint, gpa: int) -> Generator[At, None, None]:
    """Suspends the vCPU that awaits this, until the scheduler chooses it."""
    yield point, gpa
