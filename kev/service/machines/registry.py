"""All machines of a service: made, found, saved, forked, forgotten."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import attrs
import trio

from kev import log
from kev.guests.spec_files import is_guest
from kev.guests.spec_files import resolved as resolved_spec
from kev.machine.snapshots import of_snapshot
from kev.machine.ungrouped import ungrouped
from kev.pager.source import FileSource, is_snapshot
from kev.service.errors import (
    Conflict,
    Invalid,
    LimitReached,
    MachineLost,
    NotThere,
    NoWorker,
    ServiceError,
    ShuttingDown,
)
from kev.service.home import Homes, Run
from kev.service.machines.console import Console
from kev.service.machines.figures import Figures, Totals
from kev.service.machines.files import HostFiles
from kev.service.machines.keeping import keep
from kev.service.machines.limits import Limits
from kev.service.machines.machine import Identity, OnShutdown, ServedMachine, time_text
from kev.service.machines.record import record_of
from kev.service.machines.snapshots import Snapshot, SnapshotStore
from kev.service.machines.state_directory import MachineFiles, StateDirectory, remove, write_record
from kev.snapshot.errors import SnapshotError
from kev.spec.machine_spec import MachineSpec
from kev.spec.sizes import size_text
from kev.subscribers import Subscribers
from kev.work.processors import processors

_ID_BYTES: Final = 6
_PLANS: Final = 64
"""That are kept."""
_UNTIL_MORE: Final = 0.05
"""Seconds in which no run of many has ended, until more of them are begun."""
_CONSOLES: Final = 8
"""Of all runs of one request, the output is kept that so many machines' consoles hold."""
LOCAL: Final = "local"
"""The client that everybody at the unix socket is; those that know the token are another one. See `Homes.open`."""
_REMOTE: Final = "remote"


@attrs.frozen
class Wish:
    """What a client wants a machine to be."""

    spec: MachineSpec
    snapshot: str | None = None
    """The name of the snapshot that it goes on from; `spec` says then what a snapshot does not fix."""
    name: str | None = None
    start: bool = True
    labels: Mapping[str, str] = attrs.field(factory=dict)
    on_shutdown: OnShutdown | None = None
    trusted: bool = True
    """The client may name any file of the host."""
    passes: bool = False
    """It ends with the request that it is made by, and nothing of it is written down."""


class Plan(NamedTuple):
    """How a machine is made."""

    spec: MachineSpec
    """What the home is opened with."""
    resolved: MachineSpec
    goes_on: bool
    """It is a machine that was saved."""
    client: str | None = None
    """See `kev.service.home.Homes.open`."""


class Registry:
    """The machines of one service. Its coroutines may be called by several tasks at once; they are trio's."""

    def __init__(
        self,
        homes: Homes,
        directory: StateDirectory,
        nursery: trio.Nursery,
        limits: Limits | None = None,
        files: HostFiles | None = None,
        on_shutdown: OnShutdown = "stop",
    ) -> None:
        """`on_shutdown`: of machines that say nothing about it."""
        self.limits: Final = limits or Limits()
        self.files: Final = files or HostFiles()
        self.on_shutdown: Final = on_shutdown
        self.changed: Final[Subscribers[[ServedMachine]]] = Subscribers()
        """Are told of every change of a machine, the first of which is that it is there."""
        self.removed: Final[Subscribers[[ServedMachine]]] = Subscribers()
        self.directory: Final = directory
        self.snapshots: Final = SnapshotStore(directory, self.limits.snapshots)
        self.closing = False
        """The service is about to end: no machine is made any more."""
        self.totals: Final = Totals()
        """What all machines have done since the service began."""
        self._homes: Final = homes
        self._nursery: Final = nursery
        self._machines: Final[dict[str, ServedMachine]] = {}
        self._sources: Final[dict[str, Path]] = {}
        """The files of this directory that machines go on from."""
        self._names: Final[set[str]] = set()
        """Of machines that are being made."""
        self._opening = 0
        self._opening_memory = 0
        self._opened = trio.Event()
        """Fewer are being made than before."""
        self._starting = 0
        self.unlisted = 0
        """Machines that run, and are not among these: of `run_many`."""
        self._plans: Final[dict[tuple[MachineSpec, bool], Plan]] = {}
        """Of descriptions that name no file of the host: they come to the same whenever they are asked for."""
        self._many: Final[set[trio.CancelScope]] = set()
        """Those runs."""

    # Which there are.

    def __iter__(self) -> Iterator[ServedMachine]:
        """In the order in which they were made."""
        return iter(tuple(self._machines.values()))

    def __getitem__(self, name: str) -> ServedMachine:
        """The machine with this id, or this name. NotThere."""
        machine = self._machines.get(name)
        if machine is None:
            machine = next((machine for machine in self._machines.values() if machine.name == name), None)
        if machine is None:
            raise NotThere(f"machine: {name!r}: there is none with this id or name", field="machine", value=name)
        return machine

    @property
    def living(self) -> list[ServedMachine]:
        """Those that are not over."""
        return [machine for machine in self._machines.values() if not machine.is_over]

    @property
    def running(self) -> int:
        return sum(machine.state == "running" for machine in self._machines.values()) + self._starting

    @property
    def opening(self) -> int:
        """How many are being made."""
        return self._opening - self.unlisted

    # Making them.

    async def create(self, wish: Wish) -> ServedMachine:
        """The machine, which runs if the wish says so. KevError if it cannot be; nothing of it is left then."""
        self._check_open()
        identity = self._identity(wish)
        with self._named(identity.name):
            source = None if wish.snapshot is None else self.snapshots[wish.snapshot].file
            with self._held(source), _called(wish.snapshot, source):
                plan = await self._planned(wish, source)
                with self._room(1, plan.resolved, running=int(wish.start)):
                    identity = attrs.evolve(identity, spec=self._said(wish, plan))
                    machine = await self.open(identity, plan, source, start=wish.start, passes=wish.passes)
        return machine

    @asynccontextmanager
    async def passing(self, wish: Wish) -> AsyncIterator[ServedMachine]:
        """A machine for the block, which starts at once, and of which nothing is left behind it. KevError if it cannot be."""
        machine = await self.create(attrs.evolve(wish, start=True, on_shutdown="stop", passes=True))
        try:
            yield machine
        finally:
            with trio.CancelScope(shield=True):
                await machine.end()
                await self.conclude_passing(machine)
                self._forget(machine)

    async def conclude_passing(self, machine: ServedMachine) -> None:
        """Gathers what there is of a passing machine whose run is over. To be called by whoever has it only."""
        with trio.CancelScope(shield=True):
            if not machine.concluded.is_set():
                await machine.conclude(self.keep)
                self._release(machine)

    async def run_many(self, wish: Wish, count: int, at_once: int) -> list[Run]:
        """So many runs of a machine, of which nothing is left; KevError if they cannot be.

        As many are side by side as there are processors, and up to `at_once` if none ends for a while, because they wait for
        something.
        """
        self._check_open()
        plan = await self._planned(wish, None)
        runs: dict[int, Run] = {}
        kept = self.limits.console * _CONSOLES // max(count, _CONSOLES)
        numbers = iter(range(count))
        have_ended = trio.Event()

        async def go_on() -> None:
            async with self._homes.runner(plan.spec, plan.client, kept) as runner:
                for number in numbers:
                    run = runs[number] = await runner.run()
                    self.totals.machines += 1
                    if run.report is not None:
                        self.totals.add(Figures(), Figures.of_report(run.report))
                    if len(runs) == count:
                        have_ended.set()

        async def begin(nursery: trio.Nursery) -> None:
            begun, ended = 0, 0
            while begun < at_once and len(runs) < count:
                if len(runs) == ended:
                    more = min(begun or processors(), at_once - begun)
                    for _ in range(more):
                        nursery.start_soon(go_on)
                    begun += more
                ended = len(runs)
                with trio.move_on_after(_UNTIL_MORE):
                    await have_ended.wait()

        at_once = min(at_once, count)
        with self._room(at_once, plan.resolved, running=at_once):
            self.unlisted += at_once
            self._many.add(scope := trio.CancelScope())
            try:
                with ungrouped(), scope:
                    async with trio.open_nursery() as nursery:
                        await begin(nursery)
            finally:
                self._many.remove(scope)
                self.unlisted -= at_once
        if len(runs) < count:
            raise ShuttingDown(f"the service is about to end: {len(runs)} of {count} runs have ended")
        return [runs[number] for number in range(count)]

    async def open(
        self,
        identity: Identity,
        plan: Plan,
        source: Path | None,
        *,
        start: bool,
        console: Console | None = None,
        passes: bool = False,
    ) -> ServedMachine:
        """A machine that is one of these from now on. `source`: the file of this directory that it goes on from. KevError."""
        console = console or Console(self.limits.console)
        machine = ServedMachine(
            identity, plan.resolved, console, self._note_change, self.totals, goes_on=plan.goes_on, passes=passes
        )
        try:
            # What is written down of one that runs must not take it for one that has not begun.
            await self.record(machine, state="running" if start else machine.state)
            home = await self._homes.open(plan.spec, machine, client=plan.client, start=start, passes=passes)
            if home.status.state == "lost" and not start:
                raise MachineLost(home.status.message)
            machine.move_in(home)
        except BaseException as error:
            with trio.CancelScope(shield=True):
                await machine.close()
                await trio.to_thread.run_sync(remove, *self.files_of(machine.id))
            if isinstance(error, MachineLost):
                # Nobody has seen the machine: what its client can do is to ask again.
                raise NoWorker(f"{identity.name}: its process was gone before the machine was there: {error}") from error
            raise
        self.add(machine, source)
        return machine

    def add(self, machine: ServedMachine, source: Path | None = None) -> None:
        """It is one of these from now on."""
        self._machines[machine.id] = machine
        self.totals.machines += 1
        if source is not None:
            self.snapshots.hold(source)
            self._sources[machine.id] = source
        if not (machine.concluded.is_set() or machine.passes):
            self._nursery.start_soon(self._live, machine)
        self._note_change(machine)

    async def _live(self, machine: ServedMachine) -> None:
        """Until nothing happens to it any more."""
        await machine.over.wait()
        await machine.conclude(self.keep)
        self._release(machine)
        self.forget_oldest()
        if machine.id in self._machines:
            await self.record_if_possible(machine)

    async def keep(self, machine: ServedMachine) -> None:
        """Writes down what there is of a run that is over, if that is possible."""
        if not machine.is_written_down:
            return
        try:
            await trio.to_thread.run_sync(keep, self.files_of(machine.id), machine.documents, machine.console)
        except ServiceError as error:
            log.warning("nothing is kept", id=machine.id, error=str(error))

    def plan_of(self, spec: MachineSpec) -> Plan:
        """How a machine is made that is described so, by a client that may. Reads files. KevError if it cannot be."""
        return self._plan(Wish(spec), None)._replace(client=None)

    async def _planned(self, wish: Wish, source: Path | None) -> Plan:
        """See `_plan`."""
        key = (wish.spec, wish.trusted)
        if source is None and key in self._plans:
            return self._plans[key]
        plan = await trio.to_thread.run_sync(self._plan, wish, source)
        if source is None and await trio.to_thread.run_sync(_names_no_file, wish.spec):
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _plan(self, wish: Wish, source: Path | None) -> Plan:
        """Reads files, which may take long. KevError if the wish cannot be."""
        spec = self.files.checked(wish.spec, trusted=wish.trusted)
        if source is not None:
            if spec.image:
                raise Conflict(f"spec.image: {spec.image!r}: the snapshot {wish.snapshot!r} has its own", field="spec.image")
            spec = spec._replace(image=os.fspath(source))
        if not (spec.image or spec.disks or spec.firmware):
            problem = "the description names none, and no disk or firmware to start instead"
            raise Invalid(f"spec.image: {problem}", field="spec.image", limit="there")
        saved = _is_snapshot(spec.image)
        resolved = resolved_spec(of_snapshot(spec) if saved else spec)
        client = None if saved else LOCAL if wish.trusted else _REMOTE
        return Plan(self.limits.admitted(spec, resolved, is_snapshot=saved), resolved, source is not None, client)

    def _said(self, wish: Wish, plan: Plan) -> MachineSpec:
        """What is shown as the machine's description."""
        if wish.snapshot is None:
            return plan.spec
        return MachineSpec.of(self.snapshots[wish.snapshot].spec).replace(**wish.spec.given())

    def _identity(self, wish: Wish) -> Identity:
        number = secrets.token_hex(_ID_BYTES)
        on_shutdown = wish.on_shutdown or self.on_shutdown
        return Identity(number, wish.name or number, wish.spec, wish.labels, on_shutdown, datetime.now(UTC))

    # Limits.

    def close(self) -> None:
        """No machine is begun to be made any more, and runs that nothing is left of end."""
        self.closing = True
        for scope in self._many:
            scope.cancel()

    async def until_opened(self) -> bool:
        """False if no machine is being made; True as soon as one of them is there, or cannot be."""
        if not self._opening:
            return False
        if self._opened.is_set():
            self._opened = trio.Event()
        await self._opened.wait()
        return True

    def _check_open(self) -> None:
        if self.closing:
            raise ShuttingDown("the service is about to end: it makes no machines")

    @contextmanager
    def _named(self, *names: str) -> Iterator[None]:
        """Nobody else gives a machine one of these names meanwhile. Conflict if one is taken."""
        taken = self._names.union(*((machine.id, machine.name) for machine in self._machines.values()))
        for name in names:
            if name in taken:
                raise Conflict(f"name: {name!r}: a machine is called so already", field="name", value=name)
        self._names.update(names)
        try:
            yield
        finally:
            self._names.difference_update(names)

    @contextmanager
    def _room(self, count: int, resolved: MachineSpec, *, running: int = 0) -> Iterator[None]:
        """There is room for `count` machines, so many of which run, and nobody else takes it meanwhile. LimitReached,
        ShuttingDown."""
        self._check_open()  # the service may have begun to end since the request came
        memory = count * (resolved.memory or 0)
        living = self.living
        _check("machines", len(living) + self._opening, count, self.limits.machines)
        used = sum(machine.memory for machine in living) + self._opening_memory
        if used + memory > self.limits.total_memory:
            most = size_text(self.limits.total_memory)
            problem = f"{size_text(used)} of {most} are given away: this would be {size_text(memory)} more"
            raise LimitReached(f"total_memory: {problem}", field="total_memory", value=size_text(memory), limit=most)
        self._opening += count
        self._opening_memory += memory
        try:
            with self.slot(running):
                yield
        finally:
            self._opening -= count
            self._opening_memory -= memory
            self._opened.set()

    @contextmanager
    def slot(self, count: int) -> Iterator[None]:
        """There is room for so many more machines that run. LimitReached."""
        if count:
            _check("running", self.running, count, self.limits.running)
        self._starting += count
        try:
            yield
        finally:
            self._starting -= count

    # What is done to one of them.

    async def start(self, machine: ServedMachine) -> None:
        with self.slot(int(machine.state != "running")):
            if machine.state == "created":
                # Or the next service could take it for one that has not begun.
                await self.record(machine, state="running")
            await machine.start()
        await self.record_if_possible(machine)

    async def resume(self, machine: ServedMachine) -> None:
        with self.slot(int(machine.state != "running")):
            await machine.resume()
        await self.record_if_possible(machine)

    async def remove(self, machine: ServedMachine) -> None:
        """Stops it, if it is not over, and forgets it."""
        await machine.stop()
        self._forget(machine)

    async def snapshot(self, machine: ServedMachine, name: str, *, compress: bool = False) -> Snapshot:
        """KevError if it cannot be written."""
        self._check_open()
        home = machine.home_to_save()
        with self.snapshots.naming(name):
            file = self.snapshots.new_file()
            size = await self.snapshots.write(home, file, compress=compress)
            spec = machine.identity.spec.to_dict()
            snapshot = Snapshot(name, file, machine.id, machine.name, time_text(datetime.now(UTC)), size, spec)
            try:
                await self.snapshots.add(snapshot)
            except BaseException:
                remove(file)
                raise
        log.info("snapshot", id=machine.id, name=name, size=size)
        return snapshot

    async def fork(self, machine: ServedMachine, count: int) -> list[ServedMachine]:
        """So many machines that are what this one is now, paused. KevError if they cannot be; there is none of them then."""
        self._check_open()
        _check_forkable(machine)
        home = machine.home_to_save()
        with self._room(count, machine.resolved):
            file = self.snapshots.new_file()
            with self._held(file):
                await self.snapshots.write(home, file)
                return await self._open_forks(machine, file, count)

    async def _open_forks(self, machine: ServedMachine, file: Path, count: int) -> list[ServedMachine]:
        spec = MachineSpec(os.fspath(file), timeout=machine.resolved.timeout, timeline=machine.resolved.timeline or None)
        plan = Plan(spec, machine.resolved, goes_on=True)
        wish = Wish(
            machine.identity.spec,
            labels={**machine.identity.labels, "fork-of": machine.id},
            on_shutdown=machine.identity.on_shutdown,
        )
        forks: list[ServedMachine] = []
        try:
            for _ in range(count):
                forks.append(await self.open(self._identity(wish), plan, file, start=False))
        except BaseException:
            with trio.CancelScope(shield=True):
                for fork in forks:
                    await self.remove(fork)
            raise
        return forks

    # What is left of them.

    def forget_oldest(self) -> None:
        """Of those that are over, only so many are kept, and only so long."""
        # One that passes is forgotten by whoever has asked for it, and takes nobody's place.
        over = sorted((machine for machine in self if machine.concluded.is_set() and not machine.passes), key=_end)
        now = datetime.now(UTC)
        for place, machine in enumerate(reversed(over)):
            if place >= self.limits.ended or (now - _end(machine)).total_seconds() > self.limits.ended_for:
                self._forget(machine)

    def _forget(self, machine: ServedMachine) -> None:
        if self._machines.pop(machine.id, None) is not None:
            files = self.files_of(machine.id) if machine.is_written_down else ()
            machine.is_forgotten = True
            self._release(machine)
            remove(*files)
            log.info("machine", id=machine.id, name=machine.name, state="removed")
            self.removed(machine)

    def _release(self, machine: ServedMachine) -> None:
        source = self._sources.pop(machine.id, None)
        if source is not None:
            self.snapshots.release(source)

    @contextmanager
    def _held(self, source: Path | None) -> Iterator[None]:
        """The file is kept meanwhile."""
        if source is None:
            yield
            return
        self.snapshots.hold(source)
        try:
            yield
        finally:
            self.snapshots.release(source)

    async def record(self, machine: ServedMachine, *, state: str | None = None, saved: bool = False) -> None:
        """Writes down what is known of it, or that it is in another state. StorageFull, StateError."""
        if not machine.is_written_down:
            return
        data = record_of(machine, state=state, saved=saved)
        write = partial(write_record, lasting=saved)  # a machine that is not saved ends with the host
        await trio.to_thread.run_sync(write, self.files_of(machine.id).record, data)
        if machine.is_forgotten:  # meanwhile
            remove(*self.files_of(machine.id))

    async def record_if_possible(self, machine: ServedMachine) -> None:
        """The same of what has happened, whether that can be written down or not."""
        try:
            await self.record(machine)
        except ServiceError as error:
            log.warning("no record", id=machine.id, error=str(error))

    def files_of(self, id: str) -> MachineFiles:
        """Where it is written down."""
        return self.directory.files_of(id)

    def _note_change(self, machine: ServedMachine) -> None:
        if machine.id in self._machines:
            self.changed(machine)


def _names_no_file(spec: MachineSpec) -> bool:
    others = (spec.modules, spec.disks, spec.firmware, spec.boot_sector)
    return is_guest(spec.image) and not any(others) and (spec.paging or "").partition("=")[0] not in ("record", "prefetch")


@contextmanager
def _called(snapshot: str | None, source: Path | None) -> Iterator[None]:
    """What is wrong with the snapshot is told by the name that clients know: where its file is, is the service's own matter."""
    try:
        yield
    except SnapshotError as error:
        if source is None:
            raise
        raise Invalid(str(error).replace(os.fspath(source), f"snapshot: {snapshot!r}"), field="snapshot", value=snapshot) from error


def _check(what: str, there: int, more: int, most: int) -> None:
    if there + more > most:
        problem = f"{there} of {most} there may be are there: {more} more cannot be"
        raise LimitReached(f"{what}: {problem}", field=what, value=more, limit=most)


def _check_forkable(machine: ServedMachine) -> None:
    for number, disk in enumerate(machine.resolved.disks):
        if disk.writes:
            problem = "it is written in place, and the forks would share it: give it overlay or ro"
            raise Conflict(
                f"disk {str(disk)!r}: {problem}", field=f"spec.disks[{number}]", value=str(disk), limit=["ro", "overlay"]
            )


def _end(machine: ServedMachine) -> datetime:
    return machine.ended or machine.identity.created


def _is_snapshot(image: str) -> bool:
    if os.sep not in image or not os.path.isfile(image):
        return False
    with FileSource(image) as source:
        return is_snapshot(source)
