"""Workers whose machine is closed, and that take another one, if the service's operator wants that.

A guest that took over its worker would have all machines that come to live there after it. So those are of the same client, and of
the same files, which the worker is confined to already.
"""

from typing import Final, NamedTuple

import trio

from kev.service.workers.attendant import Attendant
from kev.service.workers.confinement.machine import allows_another, files_of
from kev.service.workers.forking import WorkerProcess
from kev.spec.machine_spec import MachineSpec

MOST_MACHINES: Final = 100
"""Of one worker, so that whatever it keeps of each does not pile up."""
_SECONDS: Final = 60.0
"""For which a worker waits."""


class Reuse(NamedTuple):
    """Which workers are used again."""

    most: int
    """How many wait."""
    clients: frozenset[str] | None = None
    """Whose machines live in them; None for anybody's."""


NO_REUSE: Final = Reuse(0)


class Kind(NamedTuple):
    """What machines that live in one worker have in common."""

    client: str
    files: MachineSpec


class _Waiting(NamedTuple):
    attendant: Attendant
    kind: Kind
    since: float


class UsedWorkers:
    """Those of one service that wait."""

    def __init__(self, reuse: Reuse) -> None:
        self._most: Final = reuse.most
        self._clients: Final = reuse.clients
        self._waiting: Final[list[_Waiting]] = []
        """The one that has waited longest is the first."""

    def kind_of(self, spec: MachineSpec, client: str | None) -> Kind | None:
        """None for a machine that is alone in its worker."""
        if client is None or not self._most or (self._clients is not None and client not in self._clients):
            return None
        return Kind(client, files_of(spec)) if allows_another(spec) else None

    def wants(self, worker: WorkerProcess, kind: Kind | None) -> bool:
        """Whether it is to wait for another machine behind the one of this kind that it is about to get."""
        return kind is not None and worker.machines + 1 < MOST_MACHINES

    def take(self, kind: Kind | None) -> Attendant | None:
        """The one that was used last, if one of that kind waits."""
        for index in reversed(range(len(self._waiting))):
            if self._waiting[index].kind == kind and not self._waiting[index].attendant.is_over:
                return self._waiting.pop(index).attendant
        return None

    def add(self, attendant: Attendant, kind: Kind) -> None:
        """It waits from now on. If that makes too many, one ends."""
        self._waiting.append(_Waiting(attendant, kind, trio.current_time()))
        if len(self._waiting) > self._most:
            self._waiting.pop(0).attendant.dismiss()

    def sweep(self) -> None:
        """Ends those that have waited too long, and forgets those that are dead."""
        now = trio.current_time()
        over = [one for one in self._waiting if one.attendant.is_over or now - one.since > _SECONDS]
        for one in over:
            self._waiting.remove(one)
            one.attendant.dismiss()
