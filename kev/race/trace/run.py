"""What those who take part in a trace run know of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from kev.engine.trace import TraceEngine
from kev.pager.kernel import KernelVmPager
from kev.pager.protocols import Point
from kev.race.points import Suspension, TracePoint
from kev.race.trace.program import Page
from kev.race.trace.store_buffers import BufferedStore, StoreBuffers
from kev.race.trace.task import Task

Subscriptions: TypeAlias = Mapping[str, tuple[Callable[..., None], ...]]
"""Whom to tell of each event, by its name."""


class TraceRun(Protocol):
    """The run as its vCPUs and their source see it; `kev.race.trace.machine.TraceMachine` is it."""

    @property
    def engine(self) -> TraceEngine: ...

    @property
    def pager(self) -> KernelVmPager: ...

    @property
    def tasks(self) -> Sequence[Task]:
        """By vCPU."""

    @property
    def shared(self) -> dict[str, Any]:
        """For what the vCPUs of a test have to tell each other."""

    @property
    def steps(self) -> Sequence[int]:
        """Every step so far, as in `kev.race.interleaving`: as many as the number of the present step, from 0."""

    @property
    def vcpu(self) -> int:
        """Which takes the present step."""

    @property
    def told(self) -> Subscriptions:
        """Whom `tell` tells: what happens often is passed on without it."""

    def reach(self, point: Point | TracePoint, gpa: int) -> Suspension | None:
        """A step ends: None if the vCPU takes the next one, too; else that is to be awaited, and it goes on when it is chosen."""

    def tell(self, event: str, *facts: object) -> None:
        """Passes on what the vCPU whose step it is has done: see `kev.race.trace.listener.Listener`."""

    def store(self, vcpu: int, store: BufferedStore) -> None:
        """Stores: at once, or later if there are store buffers."""

    def show_stores(self, vcpu: int) -> None:
        """Makes visible all that a vCPU has stored."""

    @property
    def buffers(self) -> StoreBuffers | None:
        """What vCPUs have stored and others do not see yet, if there is such a thing."""

    @property
    def pages(self) -> Sequence[Page]: ...

    def cancel(self, vcpu: int) -> None:
        """Throws `kev.race.trace.vcpu.Cancelled` into a vCPU, if it is in the pager."""
