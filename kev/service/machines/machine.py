"""One machine of a service: who it is, where it lives, what it has printed, and what is left of it."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import attrs
import trio

from kev import log
from kev.errors import KevError, one_line
from kev.service.endings import described_ending
from kev.service.errors import Conflict, Gone, MachineLost
from kev.service.home import Home, Status
from kev.service.machines.console import Console
from kev.service.machines.figures import Figures, Totals
from kev.service.page_cells import CellsWanted, in_cells
from kev.spec.machine_spec import MachineSpec

OnShutdown: TypeAlias = Literal["snapshot", "stop"]


@attrs.frozen
class Identity:
    """What a machine is called, and what its client has said about it."""

    id: str
    name: str
    spec: MachineSpec
    """As it was asked for."""
    labels: Mapping[str, str]
    on_shutdown: OnShutdown
    created: datetime


class Documents(NamedTuple):
    """What is kept of a run that has ended."""

    report: dict[str, Any]
    pages: dict[str, Any]
    screenshot: bytes


class ServedMachine:
    """A machine, from the request that it was made by to the one that it is forgotten by. The observer of its home."""

    def __init__(
        self,
        identity: Identity,
        resolved: MachineSpec,
        console: Console,
        changed: Callable[["ServedMachine"], object],
        totals: Totals,
        *,
        goes_on: bool = False,
        passes: bool = False,
    ) -> None:
        """`resolved`: with what its image wants. `goes_on`: from a snapshot, and it counts as paused until it does. `passes`: it
        ends with the request that it is made by."""
        self.identity: Final = identity
        self.resolved: Final = resolved
        self.console: Final = console
        self.started: datetime | None = None
        self.ended: datetime | None = None
        self.documents: Documents | None = None
        self._kept: Callable[[], Documents | None] | None = None
        self.figures = Figures()
        self._process: int | None = None
        self.over: Final = trio.Event()
        """The run has ended, or the machine is lost."""
        self.concluded: Final = trio.Event()
        """And what is kept of it, is."""
        self._home: Home | None = None
        self._status: Status = Status("created")
        self.is_put_away = False
        """Another service goes on with the run."""
        self.is_forgotten = False
        """Nothing of it is written down any more."""
        self._goes_on: Final = goes_on
        self.passes: Final = passes
        self._changed: Final = changed
        self._totals: Final = totals

    @classmethod
    def finished(
        cls,
        identity: Identity,
        console: Console,
        status: Status,
        times: tuple[datetime | None, datetime | None],
        figures: Figures,
        kept: Callable[[], Documents | None],
    ) -> "ServedMachine":
        """One whose run was over before this service began. `kept` reads what was kept of it."""
        machine = cls(identity, identity.spec, console, lambda _machine: None, Totals())
        machine._status = status
        machine.started, machine.ended = times
        machine.figures = figures
        machine._kept = kept
        console.close()
        machine.over.set()
        machine.concluded.set()
        return machine

    # Its home.

    def move_in(self, home: Home) -> None:
        """It lives there, from now on."""
        self._home = home

    def printed(self, data: bytes) -> None:
        self.console.append(data)

    def changed(self, status: Status) -> None:
        if self.is_over or self.is_put_away:
            return
        self._status = status
        if status.state == "running" and self.started is None:
            self.started = datetime.now(UTC) if status.since is None else datetime.fromtimestamp(status.since, UTC)
        if status.state in ("ended", "lost"):
            self.ended = datetime.now(UTC)
            self.console.close()
            self.over.set()
        log.info("machine", id=self.id, name=self.name, state=self.state, **_why(status))
        self._changed(self)

    # What it is.

    @property
    def id(self) -> str:
        return self.identity.id

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def state(self) -> str:
        if self._goes_on and self._status.state == "created":
            return "paused"
        return self._status.state

    @property
    def process(self) -> int | None:
        """The process that it lives in, or lived in last; None while it is parked."""
        if self._home is not None:
            self._process = self._home.process or None
        return self._process

    @property
    def status(self) -> Status:
        return self._status

    @property
    def is_over(self) -> bool:
        return self.over.is_set()

    @property
    def memory(self) -> int:
        """Bytes of RAM that it was promised."""
        assert self.resolved.memory is not None
        return self.resolved.memory

    def describe(self) -> dict[str, Any]:
        """As clients see it."""
        ending = self._status.ending
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "spec": self.identity.spec.to_dict(),
            "labels": dict(self.identity.labels),
            "on_shutdown": self.identity.on_shutdown,
            "created": time_text(self.identity.created),
            "started": None if self.started is None else time_text(self.started),
            "ended": None if self.ended is None else time_text(self.ended),
            "ending": described_ending(ending),
            "message": self._status.message,
            "console": {"start": self.console.start, "end": self.console.end},
            "process": self.process,
            "pages_loaded": self.figures.pages_loaded,
            "violations": self.figures.violations,
        }

    # What is done to it. MachineError if its state forbids it; Conflict, or Gone, if the run is over.

    async def begin(self) -> None:
        """It runs: one that was created, and one that goes on."""
        await self._living("started").start()

    async def start(self) -> None:
        self._living("started")
        if self.state != "created":
            how = "it goes on by `resume`" if self._goes_on else "it can be started once"
            raise self._conflict(how, limit="created")
        await self.begin()

    async def pause(self) -> None:
        home = self._begun("paused")
        if not self._waits_to_go_on:
            await home.pause()

    async def resume(self) -> None:
        home = self._begun("resumed")
        if self._waits_to_go_on:
            await home.start()
        else:
            await home.resume()

    async def stop(self) -> None:
        """Returns when the run is over, and what is kept of it is there."""
        await self.end()
        await self.concluded.wait()

    async def end(self) -> None:
        """Ends the run, if it is not over."""
        if self._home is not None and not self.is_over:
            try:
                await self._home.stop()
            except MachineLost:
                """It has stopped as well."""

    async def send(self, data: bytes) -> None:
        await self._living("typed to").send(data)

    async def report(self) -> dict[str, Any]:
        return (await self._documents()).report if self.is_over else await self._home_of("report").report()

    async def pages(self) -> dict[str, Any]:
        return (await self._documents()).pages if self.is_over else await self._home_of("pages").pages()

    async def page_cells(self, wanted: CellsWanted) -> dict[str, Any]:
        """Invalid, too."""
        if self.is_over:
            return in_cells((await self._documents()).pages, wanted)
        return await self._home_of("pages").page_cells(wanted)

    async def screenshot(self) -> bytes:
        return (await self._documents()).screenshot if self.is_over else await self._home_of("screenshot").screenshot()

    async def registers(self) -> list[dict[str, int]]:
        return await self._home_of("registers").registers()

    async def read_memory(self, gpa: int, length: int) -> bytes:
        return await self._home_of("memory").read_memory(gpa, length)

    def home_to_save(self) -> Home:
        """Its home, to write a snapshot of it."""
        return self._living("saved")

    @property
    def _waits_to_go_on(self) -> bool:
        return self._goes_on and self._status.state == "created"

    def _living(self, what: str) -> Home:
        if self.is_over or self._home is None:
            raise self._conflict(f"it cannot be {what}")
        return self._home

    def _begun(self, what: str) -> Home:
        home = self._living(what)
        if self.state == "created":
            raise self._conflict(f"it cannot be {what} before it is started", limit=["running", "paused"])
        return home

    def _conflict(self, why: str, limit: Any = None) -> Conflict:
        problem = f"{self.name}: the machine is {self.state}: {why}"
        return Conflict(problem, field="state", value=self.state, limit=limit)

    def _home_of(self, what: str) -> Home:
        if self.is_over or self._home is None:
            raise Gone(f"{self.name}: the machine is {self.state}: its {what} went with it", field="state", value=self.state)
        return self._home

    async def _documents(self) -> Documents:
        await self.concluded.wait()
        if self.documents is None and self._kept is not None:
            self.documents = await trio.to_thread.run_sync(self._kept)
        if self.documents is None:
            why = "is lost" if self._status.state == "lost" else "ended before the service began"
            raise Gone(f"{self.name}: nothing is kept of a run that {why}", field="state", value=self.state)
        return self.documents

    @property
    def is_written_down(self) -> bool:
        """The next service is to know of it."""
        return not (self.passes or self.is_forgotten)

    # What is done about it.

    async def sample(self) -> None:
        """Looks how far the run is."""
        if self._home is not None and not self.is_over:
            try:
                self._note_figures(await self._home.figures())
            except KevError:
                """It has just ended: what it came to is looked at then."""
            except Exception as error:
                # As in `conclude`.
                log.warning("no figures", id=self.id, error=one_line(repr(error)))

    async def conclude(self, keep: Callable[["ServedMachine"], Awaitable[None]]) -> None:
        """When the run is over: gathers what there is of it, gives the home back, and lets `keep` write down what there is."""
        home = self._home
        try:
            if home is not None and self._status.state == "ended":
                self._note_figures(await home.figures())
                self.documents = await self._gathered(home)
        except Exception as error:
            # One machine's trouble, even one that is a fault of kev, is not the service's.
            log.warning("no documents", id=self.id, error=one_line(repr(error)))
        finally:
            await self.close()
            await keep(self)
            self.concluded.set()
            self._changed(self)

    async def _gathered(self, home: Home) -> Documents:
        report = await home.report()
        # Nobody can ask for more of a machine that is forgotten as soon as its report is told.
        return Documents(report, {}, b"") if self.passes else Documents(report, await home.pages(), await home.screenshot())

    def _note_figures(self, told: Mapping[str, Any]) -> None:
        figures = Figures.of(told)
        self._totals.add(self.figures, figures)
        self.figures = figures

    async def put_away(self) -> None:
        """Gives its home back without an end of the run, which another service goes on with."""
        self.is_put_away = True
        await self.close()

    def lose(self, message: str) -> None:
        """Nothing goes on with the run: `message` says why."""
        self.is_put_away = False
        self.changed(Status("lost", None, message))

    async def close(self) -> None:
        """Gives its home back."""
        self._process = self.process
        home, self._home = self._home, None
        if home is not None:
            with trio.CancelScope(shield=True):
                await home.aclose()


def time_text(time: datetime) -> str:
    """RFC 3339, in UTC, with milliseconds."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _why(status: Status) -> dict[str, Any]:
    if status.ending is not None:
        return {"ending": status.ending.kind.value, "exit_code": status.ending.exit_code}
    return {"message": status.message} if status.message else {}
