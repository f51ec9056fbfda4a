"""Exits that are answered without asking the machine: RDTSC, and loads of device registers that keep their values.

They are counted as if they had been told. Where `native/shortcuts.c` was compiled for this host, the CPU calls that, and not
Python. Counted slices take no shortcuts: there every exit is told.
"""

import ctypes
import time
from collections.abc import Callable
from typing import Final

from kev.addressing import PAGE_MASK, PAGE_SIZE
from kev.engine.amdv import layout
from kev.engine.amdv.delivery import INTERRUPT_HARD
from kev.engine.amdv.intercepts import Intercepts
from kev.engine.amdv.layout import CpuMemory
from kev.engine.amdv.libunicorn import EmulatedCpu
from kev.engine.amdv.native import Structure, address_of, library
from kev.engine.amdv.vmcb import INTR, RDTSC
from kev.exits import MmioRead, MmioWrite, Rdtsc

_MASK32: Final = 0xFFFF_FFFF
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF
_RAX: Final = layout.GENERAL_REGISTERS >> 3
_RCX: Final = (layout.GENERAL_REGISTERS >> 3) + 1
_RDX: Final = (layout.GENERAL_REGISTERS >> 3) + 2
_INTERCEPT: Final = layout.INTERCEPT >> 3
_RDTSC_INTERCEPTED: Final = 1 << RDTSC - INTR
_WORDS: Final = PAGE_SIZE // 4
_NOTHING: Final = bytes(_WORDS)

# Quadwords of struct counter.
_REGISTERS, _INTERCEPTED, _PROCESSOR, _READ_CLOCK, _OFFSET, _ANSWERED = range(6)
# Of struct window.
_PAGE, _ASK, _LOADS_ANSWERED, _LOADS_LEFT, _HOST_REQUEST, _LEAVE_CHAIN, _WINDOW_READS_CLOCK = range(7)
# Of struct planes_window.
_PLANES, _ASK_LOAD, _ASK_STORE, _PLANE_LOADS, _PLANE_STORES = range(5)
# What is known of a register.
_KEPT, _COUNT = 1, 2
# Quadwords of struct page, behind its registers.
_DEADLINE, _DIVISOR, _PERIOD = range(3)

_PLANES_VERSION: Final = 1
"""What `kev_planes_version` says."""
_VERSION: Final = 3
"""What `kev_shortcuts_version` says of a library that was built from the source as it is now."""


NATIVE: Final = library("shortcuts", _VERSION)
"""None: Python answers."""


_CLOCK_GETTIME: Final = None if NATIVE is None else ctypes.CDLL(None).clock_gettime


class KeptPage:
    """What one vCPU finds in the aligned 4-byte registers of a device's page, as far as that stays as it is."""

    __slots__ = ("_count", "_known", "address", "values")

    def __init__(self) -> None:
        memory = ctypes.create_string_buffer(5 * _WORDS + 3 * 8)
        self.address: Final = ctypes.addressof(memory)
        """Of struct page, in this process."""
        view = memoryview(memory).cast("B")
        self.values: Final = view[: 4 * _WORDS].cast("I")
        self._known: Final = view[4 * _WORDS : 5 * _WORDS]
        self._count: Final = view[5 * _WORDS :].cast("Q")

    def keep(self, offset: int, value: int) -> None:
        self.values[offset >> 2] = value
        self._known[offset >> 2] = _KEPT

    def keep_count(self, offset: int, deadline: int, divisor: int, period: int) -> None:
        count = self._count
        count[_DEADLINE], count[_DIVISOR], count[_PERIOD] = deadline & _MASK64, divisor, period
        self._known[offset >> 2] = _COUNT

    def forget(self) -> None:
        self._known[:] = _NOTHING

    def find(self, offset: int, size: int) -> int | None:
        known = self._known[offset >> 2] if size == 4 and not offset & 3 else 0
        if known == _COUNT:
            return self._left_of_count() or None
        return self.values[offset >> 2] if known else None

    def _left_of_count(self) -> int:
        deadline, divisor, period = self._count
        left = deadline - time.perf_counter_ns()
        return 0 if left <= 0 or left >> 63 else ((left - 1) % period + divisor) // divisor & _MASK32


class _Window:
    """A device's page, as the CPU finds it."""

    __slots__ = ("page", "pages", "structure")

    def __init__(self, cpu: CpuMemory) -> None:
        self.structure: Final = Structure(7)
        self.structure.words[_HOST_REQUEST] = ctypes.addressof(cpu.host_request)
        self.structure.words[_LEAVE_CHAIN] = ctypes.addressof(cpu.leave_chain)
        self.pages: Final[dict[int, KeptPage]] = {}
        """By vCPU."""
        self.page: KeptPage | None = None
        """That of the vCPU that runs."""

    def show(self, page: KeptPage | None) -> None:
        self.page = page
        self.structure.words[_PAGE] = 0 if page is None else page.address


class Shortcuts:
    """See `kev.engine.base.Engine.take_shortcuts`."""

    __slots__ = (
        "_counter",
        "_cpu",
        "_exits",
        "_hooked",
        "_intercepts",
        "_kept",
        "_limited",
        "_native",
        "_offsets",
        "_planes",
        "_quads",
        "_uc",
        "_windows",
        "_words",
        "shown",
    )

    def __init__(self, uc: EmulatedCpu, cpu: CpuMemory, intercepts: Intercepts, native: ctypes.CDLL | None) -> None:
        """`native` is `NATIVE`, or None for Python alone."""
        self._uc: Final = uc
        self._cpu: Final = cpu
        self._quads: Final = cpu.quads
        self._intercepts: Final = intercepts
        self._native: Final = native
        self._exits: dict[type, int] | None = None
        self.shown: int | None = None
        """The vCPU whose slice takes shortcuts; None if the slice takes none."""
        self._hooked = False
        self._offsets: Final[dict[int, int]] = {}
        """By vCPU."""
        self._windows: Final[dict[int, _Window]] = {}
        """By the guest-physical address of the page."""
        self._kept: list[_Window] = []
        """Those of which something has been kept."""
        self._limited = False
        self._planes: Final[list[tuple[memoryview, int]]] = []
        """Windows of planes, and the addresses of these."""
        self._counter: Final = Structure(6)
        words = self._words = self._counter.words
        words[_REGISTERS] = cpu.address
        words[_INTERCEPTED] = cpu.address + layout.INTERCEPT
        words[_PROCESSOR] = cpu.address + layout.TSC_AUX
        if native is not None:
            words[_READ_CLOCK] = address_of(_CLOCK_GETTIME)

    # What may be answered.

    def take(self, exits: dict[type, int] | None) -> None:
        self.count()
        self._exits = exits
        if exits is None:
            self.close()

    def set_counter(self, vcpu: int, offset: int) -> None:
        self._offsets[vcpu] = offset & _MASK64
        self._hook()
        if vcpu == self.shown:
            self.open(vcpu)

    def keep_load(self, vcpu: int, gpa: int, value: int) -> None:
        """Nothing, unless the page at `gpa` is a window."""
        page = self._page(vcpu, gpa)
        if page is not None:
            page.keep(gpa & PAGE_MASK, value)

    def keep_count(self, vcpu: int, gpa: int, deadline: int, divisor: int, period: int) -> None:
        page = self._page(vcpu, gpa)
        if page is not None:
            page.keep_count(gpa & PAGE_MASK, deadline, divisor, period)

    def _page(self, vcpu: int, gpa: int) -> KeptPage | None:
        """What is kept of the window at `gpa`; None if it is none."""
        window = self._windows.get(gpa & ~PAGE_MASK)
        if window is None:
            return None
        page = window.pages.get(vcpu)
        if page is None:
            page = window.pages[vcpu] = KeptPage()
            self._kept = [window for window in self._windows.values() if window.pages]
            if vcpu == self.shown:
                window.show(page)
        return page

    def forget_loads(self, vcpu: int) -> None:
        for window in self._kept:
            page = window.pages.get(vcpu)
            if page is not None:
                page.forget()

    def count(self) -> None:
        """Counts what has been answered since the last time."""
        exits = self._exits
        if exits is None:
            return
        counters: list[tuple[type, memoryview, int]] = [(Rdtsc, self._words, _ANSWERED)]
        counters += [(MmioRead, window.structure.words, _LOADS_ANSWERED) for window in self._kept]
        for words, _ in self._planes:
            counters += ((MmioRead, words, _PLANE_LOADS), (MmioWrite, words, _PLANE_STORES))
        for kind, words, index in counters:
            exits[kind] = exits.get(kind, 0) + words[index]
            words[index] = 0

    def count_exits(self, kind: type, number: int) -> None:
        """So many were answered elsewhere."""
        if self._exits is not None and number:
            self._exits[kind] = self._exits.get(kind, 0) + number

    # Slices.

    def open(self, vcpu: int) -> None:
        """The slice that begins is this vCPU's, and is not counted."""
        if self._exits is None:
            return
        self.shown = vcpu
        offset = self._offsets.get(vcpu)
        if offset is not None:
            self._words[_OFFSET] = offset
        if self._intercepts.watches_counter is not (offset is None):
            self._intercepts.watch_counter(offset is None)
        for window in self._kept:
            window.show(window.pages.get(vcpu))
        for words, planes in self._planes:
            words[_PLANES] = planes

    def limit_loads(self, most: int | None) -> None:
        """The slice that begins ends behind so many loads that are answered here. None: it does not."""
        if most is not None or self._limited:
            self._limited = most is not None
            for window in self._kept:
                window.structure.words[_LOADS_LEFT] = most or 0

    def close(self) -> None:
        """The slice that begins takes no shortcuts."""
        if self.shown is not None:
            self.shown = None
            self._intercepts.watch_counter(True)
            for window in self._kept:
                window.show(None)
            for words, _ in self._planes:
                words[_PLANES] = 0

    # What the CPU calls.

    def _hook(self) -> None:
        if self._hooked:
            return
        self._hooked = True
        if self._native is None:
            self._uc.on_rdtsc(self._read_counter)
            self._uc.on_rdtscp(self._read_counter_and_processor)
        else:
            native = self._native
            functions = address_of(native.kev_read_counter), address_of(native.kev_read_counter_and_processor)
            self._uc.on_rdtsc_natively(*functions, self._counter.address)

    def _read_counter(self, _uc: int, _data: object) -> int:
        """kev_read_counter in C."""
        words, quads = self._words, self._quads
        if quads[_INTERCEPT] & _RDTSC_INTERCEPTED:
            return 0
        value = time.perf_counter_ns() + words[_OFFSET]
        quads[_RAX] = value & _MASK32
        quads[_RDX] = value >> 32 & _MASK32
        words[_ANSWERED] += 1
        return 1

    def _read_counter_and_processor(self, uc: int, data: object) -> int:
        """kev_read_counter_and_processor in C."""
        if not self._read_counter(uc, data):
            return 0
        self._quads[_RCX] = self._quads[layout.TSC_AUX >> 3] & _MASK32
        return 1

    def map_device(self, address: int, gpa: int, load: Callable[..., int], store: Callable[..., None]) -> None:
        """`EmulatedCpu.map_device` of one page, whose loads may be kept."""
        window = self._windows[gpa] = _Window(self._cpu)
        words, cpu = window.structure.words, self._cpu

        def answer_or_load(uc: int, offset: int, size: int, data: object) -> int:
            """kev_load in C."""
            page = window.page
            value = None if page is None else page.find(offset, size)
            if value is None:
                return load(uc, offset, size, data)
            words[_LOADS_ANSWERED] += 1
            if words[_LOADS_LEFT]:
                words[_LOADS_LEFT] -= 1
                if not words[_LOADS_LEFT]:
                    cpu.host_request.value |= INTERRUPT_HARD
                    cpu.leave_chain.value = 0xFFFF
            return value

        if self._native is None:
            self._uc.map_device(address, PAGE_SIZE, answer_or_load, store)
        else:
            words[_WINDOW_READS_CLOCK] = address_of(_CLOCK_GETTIME)
            native = address_of(self._native.kev_load), window.structure.address
            words[_ASK] = self._uc.map_native_device(address, PAGE_SIZE, native, load, store)

    def map_planes(self, address: int, length: int, planes: int, load: Callable[..., int], store: Callable[..., None]) -> None:
        """`EmulatedCpu.map_device` of the planes of a VGA, as `native/planes.c` accesses struct planes at `planes`."""
        native = library("planes", _PLANES_VERSION)
        if native is None:
            self._uc.map_device(address, length, load, store)
            return
        window = Structure(5)
        words = window.words
        functions = address_of(native.kev_load_planes), address_of(native.kev_store_planes), window.address
        words[_ASK_LOAD], words[_ASK_STORE] = self._uc.map_device_of_functions(address, length, functions, load, store)
        words[_PLANES] = planes if self.shown is not None else 0
        self._planes.append((words, planes))
