"""The machine that one holds: made, started, watched, talked to, paused, looked into, resumed, ended.

`kev.start` makes one and runs it beside its holder, `kev.launch` makes one and runs it to its end. What has to be awaited is a
coroutine of trio; `kev.machine.blocking` has the same for everybody else.
"""

import time
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar

from kev.addressing import Gpa, Gva
from kev.dev.base import PageAbsent
from kev.dev.interrupts.local_apic.message import DeliveryMode, InterruptMessage
from kev.engine.registers import GENERAL
from kev.exits import EptViolation
from kev.machine.arguments import byte_string, one_address, whole
from kev.machine.ending import Ending, EndingKind
from kev.machine.errors import MachineError
from kev.machine.launch_times import LaunchTimes
from kev.machine.output import Output, Pattern, compiled
from kev.machine.schedule import FreeScheduler, RunScheduler, SeededScheduler
from kev.machine.vcpu import Vcpu
from kev.machine.vm import Vm, VmObserver
from kev.pager.errors import PageLimitReached
from kev.pager.image import PHYSICAL_ADDRESS_LIMIT
from kev.pager.policy import PagingPolicy
from kev.spec import values
from kev.subscribers import Subscribers

if TYPE_CHECKING:
    import os
    import re
    from collections.abc import AsyncIterator, Awaitable, Callable

    from kev.machine.dying import PostMortem
    from kev.machine.family import Built, Rest
    from kev.machine.run_report import RunReport
    from kev.machine.runtime import Runtime
    from kev.observe.timeline import Timeline
    from kev.page_tables.table import PageTable
    from kev.pager.pages import PageState
    from kev.pager.symbols import Symbol
    from kev.postmortem.death import Death
    from kev.spec.machine_spec import MachineSpec

T = TypeVar("T")


class ExpectError(MachineError):
    """What was expected of a guest's output did not come: the run ended, or it took too long. Names the text and the last line."""


class Relatives(Protocol):
    """A machine that was started, and its forks: see `kev.machine.forked`."""

    def point(self, first: Vm, scheduler: RunScheduler) -> "Rest":
        """What the first machine is now."""

    def fork(self, parent: "Machine", rest: "Rest", count: int) -> "list[Machine]":
        """So many machines that are what `parent` is now, which is `rest`."""

    def close_first(self, close: "Callable[[], None]") -> None:
        """Calls `close`, which gives back the first machine's memory, as soon as no fork needs that."""


_NAMES_OF_INTERRUPTED: Final = 0.1
"""Seconds that the names of places may take where somebody waits for the end: a source may be far away."""


class MachineState(Enum):
    """Where a machine is in its life."""

    CREATED = "created"
    """It has not run yet."""
    RUNNING = "running"
    PAUSED = "paused"
    """Its vCPUs and its time stand still."""
    ENDED = "ended"
    """It will not run again; it can still be looked into, until it is closed."""


class Machine:
    """One machine, from its making to its end. All of its methods belong to one thread: that of the trio program that runs it."""

    def __init__(
        self,
        vm: Vm | None,
        image: str,
        times: LaunchTimes,
        policy: PagingPolicy,
        timeline: "Timeline | None" = None,
        seed: int | None = None,
    ) -> None:
        self._vm = vm
        self.image: Final = image
        """What the image is called in messages."""
        self.spec: MachineSpec | None = None
        """What it was made as, if that is written down: what a snapshot of it says."""
        self.seed: Final = seed
        """What the schedule of a repeatable run comes from."""
        self.scheduler: Final[RunScheduler] = (
            FreeScheduler(place_of=self._place_of, is_called=self._is_called, paused=lambda: self.vm.paused)
            if seed is None
            else SeededScheduler(seed)
        )
        self.policy: Final = policy
        self.output: Final = Output()
        """What the guest has printed, if it is kept: `keep_output`."""
        self.runtime: Runtime | None = None
        """While it runs in trio."""
        self.cancel: Callable[[], None] | None = None
        """Makes whoever drives it stop waiting."""
        self.start_beside: Callable[[Callable[[], Awaitable[object]]], None] | None = None
        """While it runs in trio: starts a task that ends with the run."""
        self.token: Any = None
        """Of the trio program that drives it."""
        self._deadline: float | None = None
        self.stopped: Final[Subscribers[[]]] = Subscribers()
        """Are told when the machine has come to `Stopped`; no time passes for it meanwhile. If there are none, it is paused."""
        self.has_input = False
        """Some has come before it was driven."""
        self.own_input = b""
        """What the guest is typed when nobody types."""
        self.warn: Callable[[str], object] | None = None
        """Is given a line for whatever a person should know who waits for the run."""
        self.save_key: Callable[[], None] | None = None
        """What Ctrl-A s does on the terminal, if it is given before the run; else the guest gets it."""
        self.times: Final = times
        self.imports: tuple[float, float] | None = None
        """From when until when what drives it was imported, by `time.perf_counter`; None if it was there before."""
        self._timeline: Final = timeline
        self._ended: float | None = None
        self._ending: Ending | None = None
        self._death: Death | None = None
        self.describes_cut_short = True
        """The report has all that is known of the vCPUs also if the run is cut short, and not only if the guest dies."""
        self.hurry: Callable[[float], None] | None = None
        """Says for how many seconds from now on the image's source may be asked for names, if it does not answer at once."""
        self._post_mortem: PostMortem | None = None
        self._screen = ""
        self._screen_is_news = False
        self._closed = False
        self._news: Any = None
        self._accesses: Final[set[Any]] = set()
        """The cancel scopes of reads, writes and snapshots that wait for pages."""
        self._saving: Any = None
        """While a snapshot is written for which the machine stands still."""
        self._no_accesses: Any = None
        self.build_alike: Callable[[], Built] | None = None
        """Builds another machine that is as this one was when it was new."""
        self.relatives: Relatives | None = None
        """What its forks need, if it can have any."""
        if vm is not None:
            vm.console.output.subscribe(self._note_news)
            vm.interrupts.urgent.subscribe(self.scheduler.prefer)

    @property
    def vm(self) -> Vm:
        """Its parts."""
        assert self._vm is not None
        return self._vm

    def _place_of(self, vcpu: int) -> int:
        return self.vm.engine.place(self.vm.vcpus[vcpu].state)

    def _is_called(self, vcpu: int) -> bool:
        return self.vm.interrupts.offered[vcpu] is not None

    # Its life.

    @property
    def state(self) -> MachineState:
        if self._ending is not None or self.vm.ending is not None:
            return MachineState.ENDED
        if self.runtime is not None and self.runtime.paused:
            return MachineState.PAUSED
        return MachineState.CREATED if self.vm.first_instruction is None else MachineState.RUNNING

    @property
    def ending(self) -> Ending | None:
        """How the run ended; None while it has not."""
        return self._ending or self.vm.ending

    async def fork(self, count: int = 1) -> "list[Machine]":
        """So many machines that are what this one is now, and go on from here on their own. This one goes on, too, if it does.

        They are paused: `resume` lets one run. A machine that is paused or has ended holds no emulated CPU, and of its memory only
        what it has written since: all others are this machine's. What one does, no other sees. Their `output` is what they print.
        They load pages as they touch them, whatever the paging policy was. No timeout is theirs; other limits are, from here on.

        They live in the block that the first machine was started in, and end with it; `close` gives back what one of them holds.

        MachineError if the run has ended, if it was not started by `kev.start`, or if a disk of the machine is written in place.
        """
        whole("count", count, "forks")
        self._check_open("nothing left to fork")
        if self.state is MachineState.ENDED:
            raise MachineError(f"{self.image}: the run has ended: there is nothing to fork")
        if self.relatives is None:
            raise MachineError(f"{self.image}: only a machine that was started by `kev.start` can be forked")
        return self.relatives.fork(self, self._rest(), count) if count else []

    def _rest(self) -> "Rest":
        """What it is now."""
        assert self.relatives is not None
        for name in self.vm.disks_in_place:
            raise MachineError(f"{self.image}: cannot be forked: disk {name} is written in place, and the forks would share it")
        return self.relatives.point(self.vm, self.scheduler)

    def keep_output(self) -> None:
        """From now on, `output` has what the guest prints."""
        self.vm.console.output.subscribe(self.output.append)

    async def load_ahead(self) -> None:
        """What the paging policy loads before the first instruction. A limit ends the run."""
        try:
            await self.policy.before_run()
        except PageLimitReached as limit:
            self.vm.end(Ending.limited(str(limit)))

    async def pause(self) -> None:
        """No vCPU runs from now on, and no time passes for the guest. MachineError if the run has ended."""
        await self._until_saved()
        self._running().pause()

    async def resume(self) -> None:
        """Goes on after `pause`. MachineError if the run has ended."""
        await self._until_saved()
        self._running().resume()

    async def stop(self) -> None:
        """Ends the run, if it has not ended; returns when it has."""
        self.end(Ending.stopped())
        await self.wait()

    def end(self, ending: Ending) -> None:
        """Ends the run as soon as can be: the first reason counts."""
        self.vm.end(ending)
        if self.cancel is not None:
            self.cancel()

    def end_soon(self, ending: Ending) -> None:
        """`end` from a signal's handler, whatever it has interrupted, or from another thread."""
        self.vm.end(ending)
        if self.token is not None:
            self.token.run_sync_soon(self._cancel)

    def _cancel(self) -> None:
        if self.cancel is not None:
            self.cancel()

    def set_time_limit(self, seconds: float) -> None:
        """The run may take so long from now on, by the host's clock. Whoever drives the machine ends it then."""
        self._deadline = time.perf_counter() + seconds

    @property
    def time_left(self) -> float | None:
        """Seconds, 0 if the time is up; None if there is no limit."""
        return None if self._deadline is None else max(self._deadline - time.perf_counter(), 0)

    async def wait(self) -> "RunReport":
        """Returns when the run has ended."""
        while not self._is_over:
            await self._wait_for_news()
        return self.report()

    def stop_soon(self) -> None:
        """Makes the machine come to `Stopped` as soon as can be."""
        self.vm.stop_soon()
        self._note_activity()

    def note_stop(self) -> bool:
        """The machine has come to `Stopped`. False if nobody has waited for that. Called by whoever drives it."""
        if not self.stopped:
            return False
        self.vm.clock.stop()
        try:
            self.stopped()
        finally:
            if self.runtime is None or not self.runtime.paused:
                self.vm.clock.go_on()
        return True

    def stand_still(self, task: "Callable[[], Awaitable[object]]") -> None:
        """The machine, which has come to `Stopped` in trio, is paused until `task` has finished. Called by who is told of that."""
        assert self.start_beside is not None
        assert self.runtime is not None

        async def go_on_behind(runtime: "Runtime") -> None:
            await task()
            runtime.resume()

        self.runtime.pause()
        self.start_beside(partial(go_on_behind, self.runtime))

    def type_own_input(self) -> None:
        """Nobody types: the guest gets what it has for that."""
        assert self.vm.input_line is not None
        self.vm.input_line.receive(self.own_input)

    def note_end(self) -> None:
        """The run is over: fixes what its report says. Called by whoever drives the machine. Raises what its observers do."""
        if self._ending is not None:
            return
        try:
            self._ended = self.vm.ended
            self._ending = self._told(self.vm.ending)
            self._screen = self.vm.screen.text
            self._screen_is_news = self._screen_would_be_news
            self.vm.console.close()
        finally:
            self._note_news()

    async def end_accesses(self) -> None:
        """Ends the reads and writes that still wait for pages. To be awaited before `close`: they would fill memory of others."""
        import trio

        with trio.CancelScope(shield=True):
            while self._accesses:
                for scope in self._accesses:
                    scope.cancel()
                self._no_accesses = trio.Event()
                await self._no_accesses.wait()

    def close(self) -> None:
        """Gives back the host's memory and processor: the report, the output and registers are all that is left."""
        if self._closed:
            return
        self._closed = True
        if self.vm.ending is None:
            self.vm.end(Ending.stopped())
        try:
            self.note_end()
        finally:
            if self._post_mortem is not None:
                self._post_mortem.forget_memory()
            if self.relatives is None:
                self._give_memory_back()
            else:
                self.relatives.close_first(self._give_memory_back)

    def _give_memory_back(self) -> None:
        self.vm.engine.close()
        self.vm.pager.close()

    # Talking to its guest.

    async def expect(self, pattern: Pattern, timeout: float | None = None) -> "re.Match[bytes]":
        """Returns when the guest has printed what `pattern` matches, behind what was expected before.

        `timeout` is in seconds. ExpectError if the run ends before, or takes longer; MachineError if `pattern` or `timeout` cannot
        be. The output must be kept.
        """
        __tracebackhide__ = True
        import trio

        compiled(pattern)
        if timeout is not None and not (isinstance(timeout, int | float) and timeout >= 0):
            raise MachineError(f"timeout: {timeout!r}: it must be seconds, 0 or more, or None for no limit")

        with trio.move_on_after(float("inf") if timeout is None else timeout):
            while (found := self.output.find(pattern)) is None and not self._is_over:
                await self._wait_for_news()
        if found is None:
            found = self.output.find(pattern)
        if found is not None:
            return found
        why = f"within {timeout:g} s" if self.ending is None else f"before the run ended ({self.ending})"
        raise ExpectError(f"{self.image}: {_shown(pattern)} was not printed {why}; the last line is {self.output.last_line!r}")

    async def stream(self) -> "AsyncIterator[bytes]":
        """What the guest prints, from the beginning, piece by piece as it comes, until the run has ended. It must be kept."""
        position = 0
        while data := await self.output_since(position):
            position += len(data)
            yield data

    async def output_since(self, position: int) -> bytes:
        """What was printed behind `position`, in bytes, when there is something; nothing if the run ended without."""
        while not (data := self.output.since(position)) and not self._is_over:
            await self._wait_for_news()
        return data or self.output.since(position)

    def send(self, data: str | bytes) -> None:
        """Types `data` on COM1's line, or on the keyboard. MachineError if the run has ended, or if it is no text and no bytes."""
        if not isinstance(data, str | bytes | bytearray | memoryview):
            raise MachineError(f"data: {data!r} cannot be typed: it must be text or bytes")
        if self.state is MachineState.ENDED:
            raise MachineError(f"{self.image}: {data!r} cannot be sent: the run has ended")
        assert self.vm.input_line is not None
        self.vm.input_line.receive(data.encode(errors="surrogateescape") if isinstance(data, str) else bytes(data))
        self._note_activity()

    def press_ctrl_alt_delete(self) -> None:
        """Presses the three keys on the keyboard: most kernels shut down or restart then. MachineError if the run has ended."""
        if self.state is MachineState.ENDED:
            raise MachineError(f"{self.image}: no key can be pressed: the run has ended")
        from kev.dev.chipset.keyboard import KeyboardController
        from kev.dev.chipset.keys import CONTROL_ALT_DELETE

        keyboard = self.vm.devices.build(KeyboardController.name)
        assert isinstance(keyboard, KeyboardController)
        keyboard.press(CONTROL_ALT_DELETE)
        self._note_activity()

    def inject(self, interrupt: int | Literal["nmi"], vcpu: int = 0) -> None:
        """Sends a vCPU an interrupt, by its vector (16 to 255), or an NMI.

        MachineError if there is no such vector or vCPU, or if the machine is closed.
        """
        target = self._open_vcpu(vcpu, "nobody to interrupt")
        if interrupt == "nmi":
            self.vm.interrupts.nmi(target.index)
        elif isinstance(interrupt, int) and 16 <= interrupt <= 255:
            self.vm.controllers.local_apics.deliver(InterruptMessage(DeliveryMode.FIXED, interrupt, target.index, wide=True))
        else:
            raise MachineError(f"interrupt {interrupt!r}: a vector is 16 to 255, or 'nmi'")
        self._note_activity()

    # Looking into it.

    @property
    def vcpus(self) -> int:
        """How many it has."""
        return len(self.vm.vcpus)

    def observe(self, observer: VmObserver) -> None:
        """Tells `observer` what happens from now on."""
        self.vm.observe(observer)

    def registers(self, vcpu: int = 0) -> dict[str, int]:
        """The general and control registers of a vCPU, by name.

        MachineError if there is no such vCPU, or if the machine was closed before that had any.
        """
        target = self._vcpu(vcpu)
        if target.startup is not None:
            self._check_open("no register that was ever set")
            self.vm.start_up()
        state = target.state
        return {name: getattr(state, name) for name in _REGISTERS}

    def symbol(self, name: str) -> "Symbol":
        """The kernel's symbol of that name. MachineError if there is none."""
        for symbol in self.vm.pager.image.symbols:
            if symbol.name == name:
                return symbol
        raise MachineError(f"{self.image}: there is no symbol {name!r} among its {len(self.vm.pager.image.symbols)}")

    def page(self, gpa: int) -> "PageState":
        """The state of the page that holds a guest-physical address. MachineError if `gpa` is no such address."""
        if not isinstance(gpa, int) or not 0 <= gpa < PHYSICAL_ADDRESS_LIMIT:
            raise MachineError(f"gpa: {gpa!r} is no guest-physical address: there are 0 to {PHYSICAL_ADDRESS_LIMIT - 1:#x}")
        return self.vm.pager.pages[gpa & -4096]

    async def read(self, length: int, *, gpa: int | None = None, gva: int | None = None, vcpu: int = 0) -> bytes:
        """Bytes of guest memory, at a guest-physical address, or at a guest-virtual one as a vCPU sees it.

        Absent pages are loaded. MachineError if there is not one address, if `length` is negative, or if the machine is closed,
        also if that happens meanwhile; KevError where there is no memory, or where the guest maps nothing.
        """
        whole("length", length, "bytes to read")
        memory, state = self.vm.memory, self._open_vcpu(vcpu, "no memory left").state
        one_address(gpa, gva)
        if gva is not None:
            return await self._loading(lambda: memory.read_virtual(state, Gva(gva), length))
        assert gpa is not None
        return await self._loading(lambda: memory.read(Gpa(gpa), length))

    async def write(self, data: bytes, *, gpa: int | None = None, gva: int | None = None, vcpu: int = 0) -> None:
        """Writes guest memory, as `read` reads it; what the guest may write there makes no difference."""
        data = byte_string("data", data)
        memory, state = self.vm.memory, self._open_vcpu(vcpu, "no memory left").state
        one_address(gpa, gva)
        if gva is not None:
            await self._loading(lambda: memory.write_virtual(state, Gva(gva), data))
        else:
            assert gpa is not None
            await self._loading(lambda: memory.write(Gpa(gpa), data))

    def ept(self) -> "PageTable":
        """What the guest's nested page tables map now, in Intel's format: a copy, which stays as it is.

        Pages that are not Present are not mapped; a device's page is, once it was touched. MachineError if the machine is closed.
        """
        from kev.page_tables.copied import ept_of

        self._check_open("no page table left")
        return ept_of(self.vm.memory.table.ranges())

    def places(self) -> list[str]:
        """Where every vCPU is, with the kernel's function and line if the image says: a line each."""
        if not self._closed:
            self.vm.start_up()
        return self.post_mortem.lines()

    @property
    def names_places(self) -> bool:
        """See `name_places`."""
        return self.vm.place_of is not None

    def name_places(self) -> None:
        """Messages name the places of vCPUs from now on, and a guest that dies leaves a report of that."""
        self.vm.place_of = lambda vcpu: self.post_mortem.place(vcpu).text

    @property
    def post_mortem(self) -> "PostMortem":
        """Looks at vCPUs and memory as they are."""
        if self._post_mortem is None:
            from kev.machine.dying import PostMortem

            self._post_mortem = PostMortem(self.vm)
            if self._closed:
                self._post_mortem.forget_memory()
        return self._post_mortem

    def dump(self, file: "str | os.PathLike[str]") -> None:
        """Writes the guest's memory, as far as it is loaded, and registers to an ELF core file for gdb, crash and `kev inspect`.

        Nothing of the guest changes. CoreError if it cannot be written; MachineError if the machine is closed.
        """
        file = values.path("file", file)
        self._check_open("no memory left to dump")
        self.vm.start_up()
        self.post_mortem.dump(file, self.ending or Ending.running())

    async def snapshot(
        self,
        file: "str | os.PathLike[str]",
        *,
        parent: "str | os.PathLike[str] | None" = None,
        compress: bool = False,
    ) -> None:
        """Writes the machine to a file that a machine can go on from: `kev.start(file)`. It stands still meanwhile.

        `parent` names another snapshot: what it has of the machine's pages is left out, and it is needed from now on. `compress`:
        pages are compressed by zstd. The file is there as a whole or not at all, and on the disk when this returns. SnapshotError
        if it cannot be written; MachineError if the run has ended.
        """
        values.path("file", file)
        import trio

        from kev.machine.snapshots import write_snapshot

        await self._until_saved()
        self._check_open("nothing to save")
        if self.state is MachineState.ENDED:
            raise MachineError(f"{self.image}: the run has ended: nothing could go on from a snapshot of it")
        running = self.runtime if self.state is not MachineState.PAUSED else None
        self._saving = saved = trio.Event()
        if running is not None:
            running.pause()
        try:
            writer = await self._awaited("nothing to save", write_snapshot(self, file, parent, compress))
        finally:
            if running is not None:
                running.resume()
            self._saving = None
            saved.set()
        with writer:
            await trio.to_thread.run_sync(writer.commit)

    def screenshot(self) -> bytes:
        """What the guest shows, as a PNG file: its framebuffer, if it has drawn on one, else its text screen.

        MachineError if the machine is closed.
        """
        self._check_open("no memory left to show")
        from kev.dev.display.picture import take_picture
        from kev.observe.png import png

        return png(*take_picture(self.vm.screen, self.vm.framebuffer))

    def report(self) -> "RunReport":
        """The figures of the run: when it has ended, or so far."""
        from kev.machine.run_report import RunReport

        vm, timeline = self.vm, self._timeline
        return RunReport(
            image=self.image,
            ending=self.ending or Ending.running(),
            pages_loaded=vm.pager.statistics.loads,
            image_pages=vm.pager.image_pages,
            ram_pages=vm.pager.ram_pages,
            violations=vm.exits[EptViolation],
            page_waits=vm.page_waits,
            paging={"policy": self.policy.name, **self.policy.figures()},
            exits={kind.__name__: count for kind, count in vm.exits.items() if count},
            phases=self.times.phases(vm.first_instruction, vm.console.first_byte, self._ended or time.perf_counter(), self.imports),
            output=bytes(self.output),
            screen=self._screen if self._ended is not None else vm.screen.text,
            screen_is_news=self._screen_is_news if self._ended is not None else self._screen_would_be_news,
            unanswered=None if (nothing := vm.buses.mmio.unanswered) is None else nothing.describe(),
            timeline=None if timeline is None else self._described(timeline),
            death=self._death,
        )

    @property
    def _screen_would_be_news(self) -> bool:
        return self.vm.console.first_output is None and self.vm.screen.is_news

    def _described(self, timeline: "Timeline") -> dict[str, Any]:
        from kev.observe.timeline_json import describe

        return describe(timeline, self.vm.pager, self.times.began)

    def _told(self, ending: Ending | None) -> Ending:
        """How the run ended; if it was cut short, with the place of every vCPU. What is known of them is kept."""
        assert ending is not None
        died = ending.kind is EndingKind.DIED
        cut_short = ending.kind in (EndingKind.TIMED_OUT, EndingKind.LIMITED, EndingKind.INTERRUPTED) and bool(ending.exit_code)
        if ending.kind is EndingKind.INTERRUPTED and self.hurry is not None:
            self.hurry(_NAMES_OF_INTERRUPTED)
        if self.vm.place_of is not None and (died or (cut_short and self.describes_cut_short)):
            self._death = self.post_mortem.death()
        return ending._replace(message=f"{ending.message}: {', '.join(self.places())}") if cut_short else ending

    # What happens in it.

    async def _loading(self, access: "Callable[[], T]") -> T:
        """What `access` returns, when every page that it needs is there."""
        while True:
            self._check_open("no memory left")
            try:
                return access()
            except PageAbsent as absent:
                await self._load(absent.gpa)

    async def _load(self, gpa: Gpa) -> None:
        """Returns when the page is there, or the machine is about to be closed."""
        await self._awaited("no memory left", self.vm.pager.load_page(gpa))

    async def _awaited(self, lacking: str, access: "Awaitable[T]") -> T:
        """What `access` comes to, which waits for pages. MachineError if the machine is about to be closed before."""
        import trio

        with trio.CancelScope() as scope:
            self._accesses.add(scope)
            try:
                return await access
            finally:
                self._accesses.remove(scope)
                if self._no_accesses is not None and not self._accesses:
                    self._no_accesses.set()
        raise self._closed_error(lacking)

    async def _until_saved(self) -> None:
        """Returns when no snapshot is being written for which the machine stands still: at once, if none is."""
        while self._saving is not None:
            await self._saving.wait()

    @property
    def _is_over(self) -> bool:
        """The run has ended, and whoever drove it has told all that there was."""
        return self.state is MachineState.ENDED and self.runtime is None

    def _check_open(self, lacking: str) -> None:
        if self._closed:
            raise self._closed_error(lacking)

    def _closed_error(self, lacking: str) -> MachineError:
        return MachineError(f"{self.image}: the machine is closed: there is {lacking}")

    def _vcpu(self, number: int) -> Vcpu:
        if not isinstance(number, int) or not 0 <= number < len(self.vm.vcpus):
            raise MachineError(f"vCPU {number!r}: the machine has {len(self.vm.vcpus)}, from 0 on")
        return self.vm.vcpus[number]

    def _open_vcpu(self, number: int, lacking: str) -> Vcpu:
        """A vCPU that has its entry state, of a machine that is not closed: then there is what is `lacking`."""
        vcpu = self._vcpu(number)
        self._check_open(lacking)
        self.vm.start_up()
        return vcpu

    def _running(self) -> "Runtime":
        if self.runtime is None or self.state is MachineState.ENDED:
            raise MachineError(f"{self.image}: the machine is {self.state.value}: it cannot be paused or resumed")
        return self.runtime

    def _note_activity(self) -> None:
        if self.runtime is not None:
            self.runtime.note_activity()

    def _note_news(self, _data: bytes = b"") -> None:
        """Something was printed, or the run has ended: whoever waits for that looks again."""
        if self._news is not None:
            self._news.set()
            self._news = None
            if self.runtime is not None:
                self.runtime.checkpoint_soon()
            if not self.vm.virtual_time:
                self.vm.engine.yield_soon()

    async def _wait_for_news(self) -> None:
        import trio

        if self._news is None:
            self._news = trio.Event()
        await self._news.wait()


_REGISTERS: Final = (*GENERAL, "rip", "rflags", "cr0", "cr2", "cr3", "cr4", "efer", "cpl")


def _shown(pattern: Pattern) -> str:
    return repr(pattern if isinstance(pattern, str | bytes) else pattern.pattern)
