"""Hosts that wait for their next guest."""

import threading
from typing import Final

from kev.engine.amdv.host import Host
from kev.host_memory import HostMemory

_IDLE_LIMIT: Final = 4


class HostPool:
    """Keeps a few hosts whose guests are over, so that a launch need not make one. Threads may share it.

    A host that waits holds address space, but hardly any memory.
    """

    __slots__ = ("_idle", "_lock")

    def __init__(self) -> None:
        self._idle: Final[list[Host]] = []
        self._lock: Final = threading.Lock()

    def take(self, size: int) -> Host:
        """A host with `size` bytes of memory or more. HostMemoryError if it would have to be made, and cannot be."""
        with self._lock:
            for index, host in enumerate(self._idle):
                if host.memory.size >= size:
                    return self._idle.pop(index)
        return Host(HostMemory(size))

    def give_back(self, host: Host) -> None:
        """Takes in a host that nobody uses any more."""
        host.reset()
        with self._lock:
            self._idle.append(host)
            surplus = self._idle.pop(0) if len(self._idle) > _IDLE_LIMIT else None
        if surplus is not None:
            surplus.close()

    def rest(self) -> None:
        """Ends the threads of hosts that wait: this process can be forked then, and both have them."""
        with self._lock:
            for host in self._idle:
                host.timer.rest()
