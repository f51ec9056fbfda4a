"""A machine that runs under schedules, one run after the other: what is put into it for that is put in once."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from kev.abi.base import MARK, Controller
from kev.addressing import Gpa, page_floor
from kev.engine.base import VcpuState
from kev.exits import EptViolation, Vmcall
from kev.machine.vcpu import Vcpu
from kev.machine.vm import Vm
from kev.pager.pages import PageEvent, PageState
from kev.pager.protocols import LoadObserver
from kev.race.guest.source import MemorySource
from kev.race.guest.store_buffers import StoreBuffers
from kev.race.meeting import Meeting
from kev.race.points import reach


class Run(Protocol):
    """One run: see `kev.race.guest.machine.GuestMachine`."""

    def wake(self, vcpu: int) -> None:
        """A vCPU that waited for a page can go on."""

    def note_runnable(self) -> None:
        """Another vCPU can go on than before."""

    def note_mark(self) -> None:
        """The guest has said that what is to be explored begins."""

    def note_output(self, data: bytes) -> None:
        """The guest has printed something."""


class Stage:
    """Lets the pages of a machine come step by step, and tells the run that is under way what happens."""

    def __init__(self, vm: Vm, image: MemorySource, buffers: StoreBuffers | None = None) -> None:
        """`vm` must be in virtual time, run `image`, and load nothing at the moment. Its runs begin now, or wherever it is put.

        `buffers`: what its vCPUs store goes through them.
        """
        self.vm: Final = vm
        self.buffers: Final = buffers
        self.image: Final = image
        self._run: Run
        self.places: frozenset[int] = frozenset()
        """Linear addresses of instructions before which turns end."""
        self._observers: tuple[LoadObserver, ...] = ()
        self._readers: tuple[Callable[[bytes], object], ...] = ()
        self._interrupted: Callable[[int, int], object] | None = None
        vm.pager.observe(self)
        vm.pager.schedule_by(reach, lambda: Meeting(self._run))
        vm.handle(EptViolation, self._without_short_cut(vm.controller(EptViolation)))
        vm.handle(Vmcall, self._noting_mark(vm.controller(Vmcall)))
        # A vCPU that another has started or woken may be meant to go on at once.
        vm.interrupts.runnable.subscribe(lambda: self._run.note_runnable())
        vm.interrupts.taken.subscribe(self._note_interrupt)
        vm.console.output.subscribe(self._note_output)

    def enter(self, run: Run) -> None:
        """`run` begins, and nobody else is told of anything from now on."""
        self._run = run
        if self.buffers is not None:
            self.buffers.clear()
        self._observers = ()
        self._readers = ()
        self._interrupted = None
        self.vm.place_of = None

    def stop_at(self, places: frozenset[int]) -> None:
        """Turns end before the instructions at `places`, linear addresses, and before no others."""
        if places != self.places:
            self.places = places
            self.vm.engine.set_breakpoints(places)

    def observe_loads(self, observer: LoadObserver) -> None:
        """Tells `observer` of every load of the run that is under way, besides those who are told already."""
        self._observers = (*self._observers, observer)

    def observe_output(self, reader: Callable[[bytes], object]) -> None:
        """Tells `reader` of what the guest prints in the run that is under way."""
        self._readers = (*self._readers, reader)

    def observe_interrupts(self, taken: Callable[[int, int], object]) -> None:
        """Tells of each vCPU that takes an interrupt of the run that is under way, and of the vector."""
        self._interrupted = taken

    # A `kev.pager.protocols.LoadObserver`.

    def began(self, pages: range) -> None:
        for observer in self._observers:
            observer.began(pages)

    def waited(self, gpa: Gpa) -> None:
        for observer in self._observers:
            observer.waited(gpa)

    def ended(self, pages: range, event: PageEvent) -> None:
        for observer in self._observers:
            observer.ended(pages, event)

    def _note_interrupt(self, vcpu: Vcpu, vector: int) -> None:
        if self._interrupted is not None:
            self._interrupted(vcpu.index, vector)

    def _note_output(self, data: bytes) -> None:
        self._run.note_output(data)
        for reader in self._readers:
            reader(data)

    def _noting_mark(self, controller: Controller) -> Controller:
        def handle(vcpu: VcpuState, exit: Vmcall) -> Any:
            if vcpu.rax & 0xFFFF_FFFF == MARK:
                self._run.note_mark()
            return controller(vcpu, exit)

        return handle

    def _without_short_cut(self, controller: Controller) -> Controller:
        """Every page is loaded by `load_page`, with its scheduling points."""
        pager = self.vm.pager

        def handle(vcpu: VcpuState, exit: EptViolation) -> Any:
            page = page_floor(exit.gpa)
            awaited = pager.pages[page] is not PageState.PRESENT and Gpa(page) in pager.loaders
            return None if awaited else controller(vcpu, exit)

        return handle
