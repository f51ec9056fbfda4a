"""Loads from and stores to pages that devices stand behind."""

from collections.abc import Callable, Collection
from typing import Any, Final

from kev.addressing import Gpa
from kev.dev.buses.mmio import MmioBus
from kev.engine.base import VcpuState
from kev.exits import MmioRead, MmioWrite


class MmioController:
    __slots__ = ("_devices", "_keep", "_steady", "_stored")

    def __init__(
        self,
        devices: MmioBus,
        stored: Callable[[Gpa], None],
        steady: Collection[Gpa] = frozenset(),
        keep: Callable[[Any, Gpa, int], None] | None = None,
    ) -> None:
        """`stored` is told of every store when it is done.

        `steady` registers, of 4 bytes, are those of which `keep` is told what a vCPU has found.
        """
        self._devices: Final = devices
        self._stored: Final = stored
        self._steady: Final = frozenset() if keep is None else frozenset(steady)
        self._keep: Final = keep

    def load(self, vcpu: VcpuState, exit: MmioRead) -> int:
        value = self._devices.load(vcpu.index, exit.gpa, exit.size)
        if exit.gpa in self._steady and exit.size == 4 and self._keep is not None:
            self._keep(vcpu, exit.gpa, value)
        return value

    def store(self, vcpu: VcpuState, exit: MmioWrite) -> int:
        self._devices.store(vcpu.index, exit.gpa, exit.size, exit.value)
        self._stored(exit.gpa)
        return 0
