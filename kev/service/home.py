"""What a machine of the service lives in: this process, or a worker of its own.

A `Home` holds one machine. Everything that a client does to a machine goes through it, and everything it is given and gives back is
plain data: numbers, texts, bytes, lists and dicts, so that it can travel between processes.
"""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from kev.addressing import MIB
from kev.machine.ending import Ending
from kev.service.page_cells import CellsWanted
from kev.spec.machine_spec import MachineSpec

MOST_READ: Final = 16 * MIB
"""Bytes of guest memory that are read at once."""


class Status(NamedTuple):
    """Where a machine is in its life."""

    state: Literal["created", "running", "paused", "ended", "lost"]
    """`created`: it has not been started. `lost`: its process is gone."""
    ending: Ending | None = None
    """How the run ended; None while it has not, and for a machine that is lost."""
    message: str = ""
    """Why it is lost."""
    since: float | None = None
    """Seconds since the epoch, if it has been so for longer than it is known."""


class Observer(Protocol):
    """Is told what happens in a home, in the trio program that made it. Neither method may wait or raise."""

    def printed(self, data: bytes) -> None:
        """The guest has printed `data`."""

    def changed(self, status: Status) -> None:
        """The machine is in another state. Behind `ended` and `lost` nothing comes any more."""


class Home(Protocol):
    """One machine and where it lives. Its coroutines are trio's; they may be called by several tasks at once.

    All raise MachineLost if the process is gone, and what `kev.machine.machine.Machine` raises: KevError.
    """

    @property
    def status(self) -> Status: ...

    @property
    def process(self) -> int:
        """The process that the machine lives in; 0 while it is in none."""

    async def start(self) -> None:
        """Lets a machine that was created run. MachineError in any other state."""

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...

    async def stop(self) -> None:
        """Ends the run; returns when it has ended."""

    async def send(self, data: bytes) -> None:
        """Types `data` on COM1's line, or on the keyboard."""

    async def press_ctrl_alt_delete(self) -> None:
        """Presses the three keys on the keyboard, which most kernels shut down or restart for."""

    async def snapshot(self, file: Path, *, compress: bool = False) -> None:
        """Writes the machine to `file`, which is there as a whole or not at all."""

    async def report(self) -> dict[str, Any]:
        """`RunReport.as_dict()`: when the run has ended, or so far. With the timeline, if the machine's description asks for it."""

    async def figures(self) -> dict[str, Any]:
        """How far the run is, at little cost: `pages_loaded` and `violations`, `exits` by kind, and `load_times` as
        `kev.service.load_times` describes them."""

    async def pages(self) -> dict[str, Any]:
        """Which pages of guest memory are there: see `kev.service.pages`."""

    async def page_cells(self, wanted: CellsWanted) -> dict[str, Any]:
        """The same in cells: see `kev.service.page_cells`. Invalid."""

    async def registers(self) -> list[dict[str, int]]:
        """The registers of every vCPU, by name."""

    async def read_memory(self, gpa: int, length: int) -> bytes:
        """MachineError for more than `MOST_READ` bytes."""

    async def screenshot(self) -> bytes:
        """What the guest shows, as a PNG file."""

    async def aclose(self) -> None:
        """Ends the run, if it has not ended, and gives back what the machine holds. Never raises; the last call."""


class Run(NamedTuple):
    """What one came to."""

    ending: Ending | None
    """None if the machine could not be made, or is lost: `message` says why."""
    report: dict[str, Any] | None
    output: bytes
    """The end of what the guest has printed."""
    output_start: int
    """How many bytes were printed before that."""
    message: str = ""


class Runner(Protocol):
    """Runs machines of one description, one at a time."""

    async def run(self) -> Run:
        """One from its making to its end. If this is cancelled, the machine ends."""


class Homes(Protocol):
    """Makes homes: `kev.service.in_process` and `kev.service.workers` have one each."""

    async def open(
        self, spec: MachineSpec, observer: Observer, *, client: str | None = None, start: bool = False, passes: bool = False
    ) -> Home:
        """A home with a machine that was made as `spec` says, and has not been started. KevError if it cannot be made.

        `client`: who has asked for it. Only machines of one client may come to live where another has lived before; a
        machine without one does not. `start`: it runs at once; how its run has ended is perhaps known when this returns. Of one
        that has ended, only report, figures, pages and picture can be asked for; if it `passes`, neither pages nor picture.
        """

    def runner(self, spec: MachineSpec, client: str | None, most: int) -> AbstractAsyncContextManager[Runner]:
        """What runs machines of this description one after the other, in one place if there is such. `most`: bytes of output that
        are kept of each.
        """
