"""Which engines there are, what each can do, and how one is made for a machine.

An engine is a folder of this package with a module `factory`, whose class is an `EngineFactory`; `ENGINES` names both.
"""

from importlib import import_module
from typing import Any, Final, Protocol

from kev.engine.base import Engine
from kev.errors import KevError
from kev.host_memory import HostMemory
from kev.named_tuple import NamedTuple
from kev.page_tables.table import PageTable

ENGINES: Final = {"amdv": "AmdvFactory"}
"""The engines by name, which is that of a package in `kev.engine`, with their factories' classes."""
DEFAULT_ENGINE: Final = "amdv"


class UnknownEngine(KevError):
    """There is no engine of that name."""


class Capabilities(NamedTuple):
    """What an engine can do."""

    name: str
    """The engine's, as in `ENGINES`."""
    table_format: str
    """Of its nested page tables: "NPT" or "EPT"."""
    physical_address_bits: int
    """The width of its host-physical addresses."""
    largest_memory: int
    """Bytes of RAM that a guest can have at most."""
    exact_counts: bool
    """A slice can be bounded by a number of instructions (`Budget.instructions`): runs are repeatable."""
    several_vcpus_at_once: bool
    """Slices of different vCPUs may run at the same time, in threads of their own."""
    forks: bool
    """A machine can be duplicated without copying its memory."""
    breakpoints: bool
    """`Engine.set_breakpoints` is there."""
    watchpoints: bool
    """`Engine.set_watchpoints` is there."""
    single_step: bool
    """`SINGLE_STEP` is exact, whatever the instruction."""


class GuestAddressSpace(Protocol):
    """What a machine is built around: memory of the host, and the table that maps the guest's onto it."""

    @property
    def memory(self) -> HostMemory: ...

    @property
    def table(self) -> PageTable: ...

    def make_engine(self, *, counted: bool = False) -> Engine[Any]:
        """The engine that executes the guest. To be called once; `Engine.close` gives everything back.

        `counted`: most of its slices will be bounded by numbers of instructions. It makes those faster, and nothing else different.
        """


class EngineFactory(Protocol):
    """Makes the engines of any number of machines. Threads may share it."""

    @property
    def capabilities(self) -> Capabilities: ...

    def reserve(self, ram_kib: int) -> GuestAddressSpace:
        """Room for `ram_kib` KiB of RAM with its tables, and for devices. HostMemoryError if there is not so much."""

    def rest(self) -> None:
        """Ends the threads of what waits for the next guest. While no guest runs, a process can be forked then."""


def engine_named(name: str = DEFAULT_ENGINE, *, keeps_hosts: bool = False) -> EngineFactory:
    """A factory of that engine. `keeps_hosts`: what a guest ran on waits for the next, so that making an engine takes less.

    UnknownEngine if there is none; whatever is missing on this machine says so by a KevError of its own.
    """
    if name not in ENGINES:
        raise UnknownEngine(f"no engine is named {name!r}: there is {', '.join(ENGINES)}")
    factory: EngineFactory = getattr(import_module(f"kev.engine.{name}.factory"), ENGINES[name])(keeps_hosts=keeps_hosts)
    return factory
