"""A machine that was forked: data while it does not run, a machine like others while it does."""

import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import trio

from kev.machine.ending import Ending
from kev.machine.errors import MachineError
from kev.machine.family import Body, Built, Family, Rest
from kev.machine.machine import Machine, MachineState
from kev.machine.runtime import Runtime
from kev.machine.schedule import RunScheduler
from kev.machine.ungrouped import ungrouped
from kev.machine.vm import Vm, VmObserver
from kev.pager.policy import PagingPolicy

if TYPE_CHECKING:
    from kev.machine.run_report import RunReport


class Forks:
    """The forks of a machine that was started. They run in the nursery of its block."""

    def __init__(self, nursery: trio.Nursery, build: Callable[[], Built]) -> None:
        self.nursery: Final = nursery
        self.all: Final[weakref.WeakSet[ForkedMachine]] = weakref.WeakSet()
        self._family: Family | None = None
        self._build: Final = build

    # See `kev.machine.machine.Relatives`.

    def point(self, first: Vm, scheduler: RunScheduler) -> Rest:
        if self._family is None:
            self._family = Family(first, self._build)
        return self._family.point(scheduler)

    def fork(self, parent: Machine, rest: Rest, count: int) -> list[Machine]:
        assert self._family is not None
        return [ForkedMachine(parent, rest, self, self._family) for _ in range(count)]

    def close_first(self, close: Callable[[], None]) -> None:
        if self._family is None:
            close()
        else:
            self._family.close_first(close)

    async def close(self) -> None:
        """When nobody runs any more: closes all of them, and what they ran on."""
        for fork in list(self.all):
            await fork.end_accesses()
            fork.close()
        if self._family is not None:
            self._family.close()


class ForkedMachine(Machine):
    """See `Machine.fork`."""

    def __init__(self, parent: Machine, rest: Rest, forks: Forks, family: Family) -> None:
        super().__init__(None, parent.image, parent.times, PagingPolicy(), None, parent.seed)
        self.relatives = forks
        self._nursery: Final = forks.nursery
        self._family: Final = family
        self._at_rest = rest
        self._forgotten: Final = self._family.add(self, rest)
        self._body: Body | None = None
        self._observers: Final[list[VmObserver]] = []
        self._subscriptions: list[Callable[[], None]] = []
        self._has_stopped: trio.Event | None = None
        self._is_pausing = False
        self._closes = False
        """It is to be closed when it has ended."""
        self._report: RunReport | None = None
        self._vcpu_count: Final = len(rest.moment.vcpus)
        self.spec = parent.spec
        self._names_places: Final = parent.names_places
        forks.all.add(self)

    @property
    def vm(self) -> Vm:
        """Its parts. While it does not run, they are its own until another fork needs some."""
        return self._embody().vm

    @property
    def vcpus(self) -> int:
        return self._vcpu_count

    @property
    def names_places(self) -> bool:
        return self._names_places

    @property
    def own_pages(self) -> Mapping[int, bytes]:
        """The pages that it, or what it was forked from, has written since that was forked from the first machine."""
        return self._rest().contents.own

    @property
    def is_busy(self) -> bool:
        """Somebody waits for a page of its memory."""
        return bool(self._accesses)

    # Its life.

    @property
    def state(self) -> MachineState:
        if self.ending is not None:
            return MachineState.ENDED
        if self._has_stopped is None or self._is_pausing or (self.runtime is not None and self.runtime.paused):
            return MachineState.PAUSED
        return MachineState.RUNNING

    @property
    def ending(self) -> Ending | None:
        return self._ending or (None if self._body is None else self._body.vm.ending)

    async def resume(self) -> None:
        self._check_open("nothing left to run")
        if self.state is MachineState.ENDED:
            raise self._not_running()
        while self._is_pausing:
            await self._pause()
        if self.runtime is not None:
            self.runtime.resume()
        elif self._has_stopped is None:
            self._embody()
            self._family.must_keep(self)
            self._has_stopped = trio.Event()
            self._nursery.start_soon(self._drive)

    async def pause(self) -> None:
        if self.state is MachineState.ENDED:
            raise self._not_running()
        if self._has_stopped is not None:
            await self._pause()

    async def _pause(self) -> None:
        stopped = self._has_stopped
        assert stopped is not None
        self._is_pausing = True
        if self.runtime is not None:
            self.runtime.pause()
        if self.cancel is not None:
            self.cancel()
        await stopped.wait()

    async def stop(self) -> None:
        if self.state is not MachineState.ENDED:
            self.end(Ending.stopped())
        await self.wait()

    def end(self, ending: Ending) -> None:
        if self._ending is not None:
            return
        self._embody().vm.end(ending)
        if self.cancel is not None:
            self.cancel()
        elif self._has_stopped is None:
            self.note_end()

    def note_end(self) -> None:
        if self._ending is None:
            super().note_end()
            self._report = self.report()

    def close(self) -> None:
        """Gives back what it holds: the report and the output are all that is left. One that runs is ended, and closed then."""
        if self._closed:
            return
        if self._has_stopped is not None:
            self.end(Ending.stopped())
            self._closes = True
            return
        if self._ending is None and self._body is None:
            self._ending, self._ended = Ending.stopped(), time.perf_counter()
            self._note_news()
        self.end(Ending.stopped())
        self._closed = True
        if self._body is not None:
            self.give_body_back()
        if self._forgotten.detach() is not None:
            self._family.remove(self._at_rest.contents.point)

    def report(self) -> "RunReport":
        return self._report or super().report()

    def observe(self, observer: VmObserver) -> None:
        self._observers.append(observer)
        if self._body is not None:
            self._body.vm.observe(observer)

    def _rest(self) -> Rest:
        return self._at_rest if self._body is None else self._body.rest(self.scheduler)

    # What it runs on.

    def _embody(self) -> Body:
        if self._body is None:
            self._check_open("nothing left of it")
            body = self._body = self._family.take_body(self._at_rest)
            self.scheduler.load(self._at_rest.scheduler)
            vm = body.vm
            self._subscriptions = [
                vm.console.output.subscribe(self.output.append),
                vm.console.output.subscribe(self._note_news),
                vm.interrupts.urgent.subscribe(self.scheduler.prefer),
            ]
            for observer in self._observers:
                vm.observe(observer)
            if self._names_places:
                self.name_places()
            self._family.lend(self)
        return self._body

    def give_body_back(self) -> None:
        """It is data from now on."""
        body = self._body
        assert body is not None
        self._family.must_keep(self)
        body.vm.clock.stop()
        self._at_rest = body.rest(self.scheduler)
        if self._post_mortem is not None:
            self._post_mortem.forget_memory()
            self._post_mortem = None
        body.vm.place_of = None
        for forget in self._subscriptions:
            forget()
        self._body = None
        self._family.give_back(body)

    async def _drive(self) -> None:
        """Runs it until it has ended, or is paused."""
        assert self._has_stopped is not None
        vm = self._embody().vm
        try:
            with ungrouped(), trio.CancelScope() as scope:
                self.cancel = scope.cancel
                self.runtime = Runtime(vm, self.scheduler, self.note_stop)
                vm.clock.go_on()
                if self._is_pausing or vm.ending is not None:
                    scope.cancel()
                await trio.lowlevel.checkpoint()
                for vcpu in vm.vcpus:
                    await vm.load_page(vcpu)
                await self.runtime.run()
        finally:
            self.runtime = self.cancel = None
            try:
                if vm.ending is None and not self._is_pausing:
                    vm.end(Ending.stopped())
                if vm.ending is not None:
                    self.note_end()
            finally:
                self._leave_body()

    def _leave_body(self) -> None:
        """It does not run any more."""
        if self.is_busy:
            self._family.lend(self)
        else:
            self.give_body_back()
        stopped, self._has_stopped, self._is_pausing = self._has_stopped, None, False
        assert stopped is not None
        stopped.set()
        if self._closes:
            self.close()

    def _note_news(self, _data: bytes = b"") -> None:
        if self._news is None or self._body is not None:
            super()._note_news()
        else:
            self._news.set()
            self._news = None

    def _not_running(self) -> MachineError:
        return MachineError(f"{self.image}: the machine is {self.state.value}: it cannot be paused or resumed")
