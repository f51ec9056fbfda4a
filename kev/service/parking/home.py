"""A machine that is a file while it is paused and nobody needs it."""

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from kev import log
from kev.errors import KevError
from kev.machine.ending import Ending
from kev.machine.errors import MachineError
from kev.service.home import Home, Homes, Observer, Status
from kev.service.page_cells import CellsWanted, in_cells
from kev.service.parking.report import joined, joined_figures
from kev.snapshot.new_file import NewFile
from kev.spec.machine_spec import MachineSpec

_NOT_PROCESS: Final = 0


class _Relay:
    """Tells the observer of a parked home what the home beneath tells, as far as that is news."""

    def __init__(self, home: "ParkedHome") -> None:
        self._home: Final = home
        self.muted = False

    def printed(self, data: bytes) -> None:
        if not self.muted:
            self._home.printed(data)

    def changed(self, status: Status) -> None:
        if not self.muted:
            self._home.changed(status)


class ParkedHome:
    """See `kev.service.home.Home`. The home beneath is given back while the machine is parked, and made anew."""

    def __init__(self, homes: Homes, spec: MachineSpec, file: Path, observer: Observer) -> None:
        """`file` is where the machine is parked."""
        self._homes: Final = homes
        self._spec: Final = spec
        self._file: Final = file
        self._observer: Final = observer
        self._relay = _Relay(self)
        self._home: Home | None = None
        """None while it is parked."""
        self._status = Status("created")
        self._has_run_here = True
        """The home beneath was started, if the machine was: it has not been made of a file since."""
        self._moving: Final = trio.Lock()
        """Held while the machine goes into the file, or comes out of it."""
        self._users = 0
        self._touched = trio.current_time()
        self._can_be_parked = _can_be_parked(spec)
        self._was_parked = False
        """There may be a file."""
        self._before: bytes | None = None
        """JSON: the report, the figures and the pages, when it was parked last."""

    async def open(self, client: str | None, *, start: bool, passes: bool) -> None:
        """Makes the machine. KevError."""
        self._home = await self._homes.open(self._spec, self._relay, client=client, start=start, passes=passes)

    # Parking.

    def is_forgotten(self, seconds: float) -> bool:
        """Nobody has needed it for so long, and it can be parked."""
        return (
            self._can_be_parked
            and self._home is not None
            and not self._users
            and self._status.state in ("created", "paused")
            and trio.current_time() - self._touched >= seconds
        )

    async def park(self) -> None:
        """Makes a file of the machine, unless somebody has come to need it. If that is refused, it is not tried again."""
        async with self._moving:
            if self._users or self._home is None or self._status.state not in ("created", "paused"):
                return
            try:
                told = {
                    "report": await self._report_of(self._home),
                    "figures": await self._figures_of(self._home),
                    "pages": await self._home.pages(),
                }
                self._was_parked = True
                await self._home.snapshot(self._file)
            except KevError as error:
                self._can_be_parked = False
                log.info("a machine is not parked", machine=self._spec.image, reason=str(error))
                return
            self._before = json.dumps(told).encode()
            self._relay.muted = True
            home, self._home = self._home, None
            await home.aclose()

    @asynccontextmanager
    async def _used(self, *, only_told: bool = False) -> AsyncIterator[Home]:
        """The home beneath, which stays for the block. KevError if the machine cannot come out of its file; it stays there then.

        `only_told`: what is asked for would be told of a parked machine, too, so it can be parked as soon as if nobody had asked.
        """
        self._users += 1
        try:
            # Whoever is about to park it sees that it is used.
            if self._home is None or self._moving.locked():
                async with self._moving:
                    if self._home is None:
                        await self._come_back()
            home = self._home
            assert home is not None
            with self._named():
                yield home
        finally:
            self._users -= 1
            if not only_told:
                self._touched = trio.current_time()

    async def _come_back(self) -> None:
        self._relay = _Relay(self)
        spec = MachineSpec(str(self._file), paging=self._spec.paging, source_latency=self._spec.source_latency)
        with self._named():
            self._home = await self._homes.open(spec, self._relay)
        self._has_run_here = False
        await trio.to_thread.run_sync(partial(self._file.unlink, missing_ok=True))

    def _named(self) -> "_Named":
        return _Named(str(self._file), self._spec.image)

    # What the home beneath tells.

    def printed(self, data: bytes) -> None:
        self._observer.printed(data)

    def changed(self, status: Status) -> None:
        if status != self._status:
            self._status = status._replace(message=status.message.replace(str(self._file), self._spec.image))
            self._observer.changed(self._status)

    # As the service calls it.

    @property
    def status(self) -> Status:
        return self._status

    @property
    def process(self) -> int:
        """0 while it is parked."""
        return _NOT_PROCESS if self._home is None else self._home.process

    async def start(self) -> None:
        if self._status.state != "created":
            raise MachineError(f"{self._spec.image}: the machine is {self._status.state}: it can be started once")
        async with self._used() as home:
            self._has_run_here = True
            await home.start()

    async def pause(self) -> None:
        async with self._used() as home:
            if self._has_run_here or self._status.state == "created":
                await home.pause()

    async def resume(self) -> None:
        async with self._used() as home:
            if self._has_run_here or self._status.state == "created":
                await home.resume()
            else:
                self._has_run_here = True
                await home.start()

    async def stop(self) -> None:
        async with self._used() as home:
            await home.stop()

    async def send(self, data: bytes) -> None:
        async with self._used() as home:
            await home.send(data)

    async def press_ctrl_alt_delete(self) -> None:
        async with self._used() as home:
            await home.press_ctrl_alt_delete()

    async def snapshot(self, file: Path, *, compress: bool = False) -> None:
        async with self._moving:
            if self._home is None and not compress:
                await trio.to_thread.run_sync(_copy, self._file, file)
                return
        async with self._used() as home:
            await home.snapshot(file, compress=compress)

    async def leave(self, file: Path) -> None:
        """Writes the machine to `file` as `snapshot` does, and closes the home. What is parked already is moved. KevError."""
        async with self._moving:
            if self._home is None:
                await trio.to_thread.run_sync(_move, self._file, file)
                self._note_stopped()
                return
        await self.snapshot(file)
        await self.aclose()

    async def report(self) -> dict[str, Any]:
        if (told := self._told_while_parked("report")) is not None:
            return told
        async with self._used(only_told=True) as home:
            return await self._report_of(home)

    async def figures(self) -> dict[str, Any]:
        if (told := self._told_while_parked("figures")) is not None:
            return told
        async with self._used(only_told=True) as home:
            return await self._figures_of(home)

    async def pages(self) -> dict[str, Any]:
        if (told := self._told_while_parked("pages")) is not None:
            return told
        async with self._used(only_told=True) as home:
            return await home.pages()

    async def page_cells(self, wanted: CellsWanted) -> dict[str, Any]:
        if (told := self._told_while_parked("pages")) is not None:
            return in_cells(told, wanted)
        async with self._used(only_told=True) as home:
            return await home.page_cells(wanted)

    async def registers(self) -> list[dict[str, int]]:
        async with self._used() as home:
            return await home.registers()

    async def read_memory(self, gpa: int, length: int) -> bytes:
        async with self._used() as home:
            return await home.read_memory(gpa, length)

    async def screenshot(self) -> bytes:
        async with self._used() as home:
            return await home.screenshot()

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            async with self._moving:
                if self._home is not None:
                    await self._home.aclose()
                else:
                    self._note_stopped()
                if self._was_parked:
                    with suppress(OSError):
                        self._file.unlink(missing_ok=True)

    def _told_while_parked(self, what: str) -> dict[str, Any] | None:
        if self._home is not None or self._before is None:
            return None
        told: dict[str, Any] = json.loads(self._before)[what]
        return told

    async def _report_of(self, home: Home) -> dict[str, Any]:
        report = await home.report()
        return report if self._before is None else joined(json.loads(self._before)["report"], report)

    async def _figures_of(self, home: Home) -> dict[str, Any]:
        figures = await home.figures()
        return figures if self._before is None else joined_figures(json.loads(self._before)["figures"], figures)

    def _note_stopped(self) -> None:
        self._can_be_parked = False
        self.changed(Status("ended", Ending.stopped()))


def _can_be_parked(spec: MachineSpec) -> bool:
    """Whether nothing is lost of a machine that is made as `spec` when it is given up for a file.

    The time of a time limit goes on; a timeline and a record of pages are of one run; a disk that is written is the machine's alone
    while it has the file open; and a snapshot names no firmware.
    """
    return (
        spec.timeout is None
        and not spec.timeline
        and spec.firmware is None
        and bool(spec.image)
        and not (spec.paging or "").startswith("record=")
        and not any(disk.writes for disk in spec.disks)
    )


class _Named:
    """Errors in the block name the image, and not the file that the machine was parked in."""

    def __init__(self, file: str, image: str) -> None:
        self._file: Final = file
        self._image: Final = image

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, KevError):
            error.args = tuple(part.replace(self._file, self._image) if isinstance(part, str) else part for part in error.args)


def _copy(parked: Path, file: Path) -> None:
    """SnapshotError if the file cannot be written there."""
    new = NewFile(file)
    try:
        with open(parked, "rb") as source, open(os.dup(new.descriptor), "wb") as target:
            shutil.copyfileobj(source, target)
        new.commit()
    finally:
        new.discard()


def _move(parked: Path, file: Path) -> None:
    try:
        os.replace(parked, file)
    except OSError:
        # It is on another file system.
        _copy(parked, file)
        parked.unlink()
