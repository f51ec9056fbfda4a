"""Makes AMD-V engines: see `kev.engine.factory`."""

from typing import Final

from kev.addressing import GIB, KIB, MIB, TIB, page_ceil
from kev.engine.amdv.engine import AmdvEngine
from kev.engine.amdv.host import Host
from kev.engine.amdv.pool import HostPool
from kev.engine.factory import Capabilities
from kev.host_memory import HostMemory
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable

_ADDRESS_BITS: Final = 40
_PHYSICAL_LIMIT: Final = TIB - GIB  # the last GiB is for windows of devices
_TABLES_SHARE: Final = 128  # a page table takes 1/512 of what it maps, and the levels above next to nothing
_DEVICES: Final = 64 * MIB


class AmdvAddressSpace:
    """A host, and the table of the guest's memory in it."""

    __slots__ = ("_counts_natively", "_hosts", "host", "table")

    def __init__(self, host: Host, hosts: HostPool | None, *, counts_natively: bool) -> None:
        self.host: Final = host
        self.table: Final = PageTable(host.memory, NptFormat())
        self._hosts: Final = hosts
        self._counts_natively: Final = counts_natively

    @property
    def memory(self) -> HostMemory:
        return self.host.memory

    def make_engine(self, *, counted: bool = False) -> AmdvEngine:
        release = Host.close if self._hosts is None else self._hosts.give_back
        if not (counted and self._counts_natively):
            return AmdvEngine(self.host, self.table, release)
        from kev.engine.amdv.counting import NATIVE

        return AmdvEngine(self.host, self.table, release, counting=NATIVE)


class AmdvFactory:
    """Unicorn's emulated AMD-V with nested paging: `kev.engine.amdv.engine`."""

    capabilities: Final = Capabilities(
        name="amdv",
        table_format=NptFormat.name,
        physical_address_bits=_ADDRESS_BITS,
        largest_memory=(_PHYSICAL_LIMIT - _DEVICES) // (_TABLES_SHARE + 1) * _TABLES_SHARE,
        exact_counts=True,
        several_vcpus_at_once=False,
        forks=True,
        breakpoints=True,
        watchpoints=True,
        single_step=True,
    )

    def __init__(self, *, keeps_hosts: bool = False, hosts: HostPool | None = None, counts_natively: bool = True) -> None:
        """`hosts` is the pool that hosts are taken from; with `keeps_hosts`, one of the factory's own.

        `counts_natively`: `kev.engine.amdv.counting` counts where it can, and not Unicorn.
        """
        self._counts_natively: Final = counts_natively
        self._hosts: Final = hosts or (HostPool() if keeps_hosts else None)

    def reserve(self, ram_kib: int) -> AmdvAddressSpace:
        ram = ram_kib * KIB
        size = min(page_ceil(ram + ram // _TABLES_SHARE + _DEVICES), _PHYSICAL_LIMIT)
        host = Host(HostMemory(size)) if self._hosts is None else self._hosts.take(size)
        return AmdvAddressSpace(host, self._hosts, counts_natively=self._counts_natively)

    def rest(self) -> None:
        if self._hosts is not None:
            self._hosts.rest()
