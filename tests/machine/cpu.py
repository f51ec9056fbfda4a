"""The engine alone: runs machine code in guest memory that appears page by page, and notes every exit."""

import ctypes
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Self

from kev.addressing import GIB, MIB, PAGE_SIZE, Gpa, page_floor, page_offset
from kev.engine.amdv.counting import NATIVE as COUNTING
from kev.engine.amdv.engine import AmdvEngine
from kev.engine.amdv.host import Host
from kev.engine.amdv.shortcuts import NATIVE
from kev.engine.amdv.vcpu import AmdvVcpu
from kev.engine.base import Budget, EntryState
from kev.engine.registers import SegmentRegister
from kev.exits import (
    GENERAL_PROTECTION,
    Cpuid,
    CpuidResult,
    EptViolation,
    Exit,
    IoIn,
    IoOut,
    MmioRead,
    MmioWrite,
    PreemptionTimer,
    Rdmsr,
    Rdtsc,
    Reply,
    Wrmsr,
)
from kev.host_memory import HostMemory
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable

CODE: Final = 0x1000
"""Where the code is that runs first."""
STACK: Final = 0x8000
RAM: Final = MIB
"""Every page below is there as soon as it is touched."""

_FLAT_CODE: Final = SegmentRegister(0x08, 0, 0xFFFF_FFFF, 0xC09B)
_FLAT_DATA: Final = SegmentRegister(0x10, 0, 0xFFFF_FFFF, 0xC093)
PROTECTED_MODE: Final = EntryState(rip=CODE, cs=_FLAT_CODE, data=_FLAT_DATA, cr0=0x31, rsp=STACK)
REAL_MODE: Final = EntryState(
    rip=CODE, cs=SegmentRegister(0, 0, 0xFFFF, 0x9B), data=SegmentRegister(0, 0, 0xFFFF, 0x93), cr0=0x30, rsp=STACK, idt_limit=0x3FF
)

Answers = Mapping[type, Callable[[Exit], Reply | None]]
"""What the machine does about exits of a kind."""

_DEFAULT_ANSWERS: Final[Answers] = {
    IoIn: lambda _: 0,
    IoOut: lambda _: 0,
    MmioRead: lambda _: 0,
    MmioWrite: lambda _: 0,
    Cpuid: lambda _: CpuidResult(0, 0, 0, 0),
    Rdmsr: lambda _: GENERAL_PROTECTION,
    Wrmsr: lambda _: GENERAL_PROTECTION,
    Rdtsc: lambda _: 0,
}

_MANY_SLICES: Final = 10_000
_LONG_ENOUGH: Final = Budget(seconds=60)


class Cpu:
    """Use as a context manager: it owns a thread."""

    def __init__(
        self,
        text: bytes,
        contents: Iterable[tuple[int, bytes]] = (),
        *,
        entry: EntryState = PROTECTED_MODE,
        vcpus: int = 1,
        answers: Answers | None = None,
        native: ctypes.CDLL | None = NATIVE,
        counting: ctypes.CDLL | None = COUNTING,
    ) -> None:
        """`text` is at CODE, and `contents` are guest-physical addresses and bytes, the later over the earlier.

        Exits without an answer end the slice. `native` is what takes shortcuts, or None for Python; `counting` counts, or Unicorn.
        """
        self.awaits_pages = False
        """Every page has to be awaited: the slice ends, and `run` goes on when the page is there."""
        self.memory = HostMemory(GIB)
        self.table = PageTable(self.memory, NptFormat())
        self.engine = AmdvEngine(Host(self.memory), self.table, native=native, counting=counting)
        self.exits: list[Exit] = []
        self.answers = {EptViolation: self.map_page, **_DEFAULT_ANSWERS, **(answers or {})}
        self._initial = bytearray(RAM)
        for gpa, data in ((CODE, text), *contents):
            self._initial[gpa : gpa + len(data)] = data
        self._current = 0
        self.vcpus = [self.engine.create_vcpu(index) for index in range(vcpus)]
        for vcpu in self.vcpus:
            self.engine.reset(vcpu, entry)

    @property
    def vcpu(self) -> AmdvVcpu:
        return self.vcpus[0]

    @property
    def current(self) -> AmdvVcpu:
        """The one that runs, or ran last."""
        return self.vcpus[self._current]

    def run(self, slice_length: int | None = None, vcpu: int = 0) -> Exit:
        """Runs in slices of so many instructions, or without slices, until an exit that has no answer."""
        budget = _LONG_ENOUGH if slice_length is None else Budget(instructions=slice_length)
        for _ in range(_MANY_SLICES):
            exit = self.run_slice(budget, vcpu)
            if self.awaits_pages and isinstance(exit, EptViolation) and exit.gpa < RAM and not exit.present:
                self.page(exit.gpa)
            elif not isinstance(exit, PreemptionTimer):
                return exit
            else:
                assert slice_length is not None, "the code does not end"
        raise AssertionError("the code does not end")

    def run_slice(self, budget: Budget, vcpu: int = 0) -> Exit:
        self._current = vcpu
        return self.engine.run(self.vcpus[vcpu], budget, self._serve)

    def run_out(self, instructions: int, vcpu: int = 0) -> Exit:
        """The same, by the other way to run so many instructions."""
        self._current = vcpu
        return self.engine.run_out(self.vcpus[vcpu], instructions, self._serve) or PreemptionTimer()

    def told(self, kind: type) -> list[Exit]:
        """The exits of a kind, in order."""
        return [exit for exit in self.exits if isinstance(exit, kind)]

    def map_page(self, exit: Exit) -> Reply | None:
        """What is done about a violation: the page is there from now on, if it is RAM."""
        assert isinstance(exit, EptViolation)
        if exit.gpa >= RAM or exit.present or self.awaits_pages:
            return None
        self.page(exit.gpa)
        return 0

    def page(self, gpa: int) -> memoryview:
        """The page of RAM that holds `gpa`."""
        start = page_floor(gpa)
        hpa = self.table.translate(start)
        if hpa is None:
            hpa = self.memory.allocate()
            self.memory.page(hpa)[:] = self._initial[start : start + PAGE_SIZE]
            self.table.map_page(Gpa(start), hpa)
        return self.memory.page(hpa)

    def read(self, gpa: int, size: int) -> int:
        """A little-endian number in RAM, within a page."""
        offset = page_offset(gpa)
        return int.from_bytes(self.page(gpa)[offset : offset + size], "little")

    def load_everything(self) -> None:
        for gpa in range(0, RAM, PAGE_SIZE):
            self.page(gpa)

    def _serve(self, exit: Exit) -> Reply | None:
        self.exits.append(exit)
        answer = self.answers.get(type(exit))
        return None if answer is None else answer(exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()
