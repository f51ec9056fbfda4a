"""Runs a guest that may take the emulator down, and tells how that went, without trio."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import trio

from kev.machine.api import refuse_in_trio
from kev.service.home import Status
from kev.service.workers.fork_server_process import ForkServerProcess
from kev.service.workers.homes import PATIENCE, worker_homes
from kev.spec.machine_spec import MachineSpec


class ContainedRun(NamedTuple):
    """What came of a run."""

    status: Status
    """`ended`, or `lost` with how its process ended."""
    report: dict[str, Any] | None
    """`RunReport.as_dict()`; None if the process is lost."""


def launch_contained(
    spec: MachineSpec,
    *,
    output: Callable[[bytes], object] | None = None,
    patience: float = PATIENCE,
    forked_from: ForkServerProcess | None = None,
) -> ContainedRun:
    """Runs a machine to its end in a worker: whatever its guest does to the emulator, this process goes on.

    `output` is given what the guest prints; `patience` and `forked_from` are as in `worker_homes`. With one fork server for many
    runs, each takes about as long as `kev.launch`. KevError if the machine cannot be made.
    """
    refuse_in_trio("`launch_contained`", "`worker_homes`")
    return trio.run(_launch, spec, output or _forget, patience, forked_from)


async def _launch(
    spec: MachineSpec, output: Callable[[bytes], object], patience: float, forked_from: ForkServerProcess | None
) -> ContainedRun:
    async with worker_homes(ready=0, patience=patience, forked_from=forked_from) as homes:
        watcher = _Watcher(output)
        home = await homes.open(spec, watcher)
        await home.start()
        await watcher.over.wait()
        return ContainedRun(home.status, None if home.status.state == "lost" else await home.report())


class _Watcher:
    def __init__(self, output: Callable[[bytes], object]) -> None:
        self._output: Final = output
        self.over: Final = trio.Event()

    def printed(self, data: bytes) -> None:
        self._output(data)

    def changed(self, status: Status) -> None:
        if status.state in ("ended", "lost"):
            self.over.set()


def _forget(_data: bytes) -> None:
    """For whoever does not want what is printed."""
