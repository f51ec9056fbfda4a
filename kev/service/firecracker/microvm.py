"""The machine that the API configures, starts and steers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio
from attrs import evolve

from kev.errors import KevError
from kev.machine.ending import Ending
from kev.service.errors import InputFull
from kev.service.firecracker.faults import AfterStart, BeforeStart, Fault, NotSupported, os_error_text
from kev.service.firecracker.output_files import Log, MetricsFile, OutputFile
from kev.service.firecracker.resources import (
    BootSource,
    Drive,
    Logger,
    MachineConfig,
    Metrics,
    RateLimiter,
    Resources,
    Serial,
)
from kev.service.firecracker.saved_state import SnapshotFiles
from kev.service.home import Home, Homes, Status
from kev.spec.machine_spec import MachineSpec

_LOOK_AGAIN: Final = 0.05
"""Seconds between two looks whether the guest has taken some of what was typed."""


class Microvm:
    """One machine, before and after its start. What it is asked for, it is asked one after the other: by one task at a time.

    What cannot be carried out raises Fault, or another KevError if it is the machine that fails.
    """

    def __init__(self, homes: Homes, instance: str, console: Callable[[bytes], object]) -> None:
        """`console` is given what the guest prints, unless that is to go to a file; it must not wait."""
        self._homes: Final = homes
        self._console = console
        self.instance: Final = instance
        self.log: Final = Log(instance)
        self.resources = Resources()
        self.started: Final = trio.Event()
        self.ended: Final = trio.Event()
        self.ending: Ending | None = None
        """How the run ended, once it has."""
        self.lost = ""
        """Why the machine is gone, if it is."""
        self._home: Home | None = None
        self._is_configured = False
        self._metrics: MetricsFile | None = None

    # What the home tells.

    def printed(self, data: bytes) -> None:
        self._console(data)

    def changed(self, status: Status) -> None:
        if status.state in ("ended", "lost"):
            self.ending, self.lost = status.ending, status.message
            self.ended.set()

    # Before it starts.

    def configure_boot_source(self, source: BootSource) -> None:
        self._check_not_started()
        self._configure(boot_source=source.checked())

    def configure_machine(self, given: dict[str, Any]) -> None:
        self._check_not_started()
        self._configure(machine_config=MachineConfig.of(MachineConfig(), **given))

    def update_machine(self, given: dict[str, Any]) -> None:
        self._check_not_started()
        self._configure(machine_config=MachineConfig.of(self.resources.machine_config, **given))

    def insert_drive(self, drive: Drive) -> None:
        self._check_not_started()
        self._configure(drives=self.resources.with_drive(drive.checked()).drives)

    def configure_logger(self, logger: Logger) -> None:
        self._check_not_started()
        try:
            self.log.configure(logger)
        except (OSError, ValueError) as error:
            raise Fault(f"Logger error: Failed to open target file: {_reason(error)}") from error
        self.resources = evolve(self.resources, logger=logger)

    def configure_metrics(self, metrics: Metrics) -> None:
        self._check_not_started()
        if self._metrics is not None:
            raise Fault("Metrics error: Cannot initialize the metrics system due to bad user input: it is initialized already")
        try:
            self._metrics = MetricsFile(metrics.metrics_path)
        except (OSError, ValueError) as error:
            raise Fault(f"Metrics error: Cannot initialize the metrics system due to bad user input: {_reason(error)}") from error
        self.resources = evolve(self.resources, metrics=metrics)

    def configure_serial(self, serial: Serial) -> None:
        self._check_not_started()
        if serial.rate_limiter is not None and serial.rate_limiter.limits:
            raise NotSupported("rate_limiter: the serial line is not made slower")
        if serial.serial_out_path is not None:
            try:
                self._console = OutputFile(serial.serial_out_path).write
            except (OSError, ValueError) as error:
                raise Fault(f"Serial error: Failed to open target file: {_reason(error)}") from error

    async def start(self) -> None:
        self._check_not_started()
        try:
            self._home = await self._homes.open(self.resources.spec(), self)
        except Fault:
            raise
        except KevError as error:
            raise Fault(f"Start microvm error: {error}") from error
        await self.resume()

    async def load_snapshot(self, state_file: str, memory_file: str, *, resume: bool) -> None:
        self._check_not_started()
        if self._is_configured:
            raise Fault("Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.")
        try:
            files = SnapshotFiles(state_file, memory_file)
            state = files.read_state()
            self._home = await self._homes.open(MachineSpec(files.memory), self)
        except KevError as error:
            raise Fault(f"Load snapshot error: Failed to restore from snapshot: {error}") from error
        self.resources = evolve(self.resources, machine_config=state.machine_config, drives=state.drives)
        if resume:
            await self.resume()

    # Once it has started.

    async def pause(self) -> None:
        home = self._started_home()
        if home.status.state == "running":
            await home.pause()

    async def resume(self) -> None:
        home = self._started_home()
        if home.status.state == "created":
            await home.start()
            self.started.set()
        elif home.status.state == "paused":
            await home.resume()

    def update_drive(self, name: str, path: str | None, rate_limiter: RateLimiter | None) -> None:
        self._started_home()
        if name not in [drive.drive_id for drive in self.resources.drives]:
            raise Fault(f"Drive config error: Unable to patch the block device: there is no drive {name!r}")
        if path is not None or (rate_limiter is not None and rate_limiter.limits):
            raise NotSupported("drives: a disk stays as it was when the machine started")

    async def create_snapshot(self, state_file: str, memory_file: str, *, is_full: bool) -> None:
        home = self._started_home()
        if not is_full:
            raise NotSupported("snapshot_type Diff: a snapshot has all that there is")
        if home.status.state == "running":
            unavailable = "Operation not allowed: save/restore unavailable while running"
            raise Fault(f"Create snapshot error: Cannot save the microVM state: {unavailable}")
        try:
            files = SnapshotFiles(state_file, memory_file)
            await home.snapshot(Path(files.memory))
            files.write_state(self.resources.machine_config, self.resources.drives)
        except KevError as error:
            raise Fault(f"Create snapshot error: {error}") from error

    async def press_ctrl_alt_delete(self) -> None:
        await self._started_home().press_ctrl_alt_delete()

    async def flush_metrics(self) -> None:
        home = self._started_home()
        if self._metrics is not None:
            self._metrics.flush(await home.report())

    async def type(self, data: bytes) -> None:
        """What stands on standard input: returns when the guest's line has room for it. KevError if the run has ended."""
        while True:
            try:
                await self._started_home().send(data)
            except InputFull:
                await trio.sleep(_LOOK_AGAIN)
            else:
                return

    async def end(self) -> None:
        """Ends the run, if there is one."""
        if self._home is not None:
            await self._home.aclose()

    # At any time.

    @property
    def state(self) -> str:
        """As `GET /` has it."""
        if self._home is None:
            return "Not started"
        return "Paused" if self._home.status.state in ("created", "paused") else "Running"

    def _configure(self, **resources: Any) -> None:
        self.resources = evolve(self.resources, **resources)
        self._is_configured = True

    def _check_not_started(self) -> None:
        if self._home is not None:
            raise AfterStart

    def _started_home(self) -> Home:
        if self._home is None:
            raise BeforeStart
        return self._home


def _reason(error: OSError | ValueError) -> str:
    return os_error_text(error) if isinstance(error, OSError) else str(error)
