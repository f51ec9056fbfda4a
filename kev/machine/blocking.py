"""A machine for those who do not use trio: it runs in a thread of its own, and every method returns when it is done."""

import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import trio

from kev.errors import KevError
from kev.machine.ending import Ending
from kev.machine.errors import MachineError
from kev.machine.machine import Machine, MachineState
from kev.machine.output import Output, Pattern
from kev.machine.vm import VmObserver

if TYPE_CHECKING:
    import re

    from kev.machine.run_report import RunReport
    from kev.page_tables.table import PageTable
    from kev.pager.pages import PageState
    from kev.pager.symbols import Symbol

T = TypeVar("T")


class BlockingMachine:
    """As `kev.machine.machine.Machine`, whose errors its methods raise. Threads may share it."""

    def __init__(self, machine: Machine, token: trio.lowlevel.TrioToken, leave: Callable[[], None]) -> None:
        """Calls of `leave`, in the thread of `token`, end the machine."""
        self._machine: Final = machine
        self._token: Final = token
        self._leave: Final = leave

    @property
    def image(self) -> str:
        """What the image is called in messages."""
        return self._machine.image

    @property
    def vcpus(self) -> int:
        """How many it has."""
        return self._machine.vcpus

    @property
    def state(self) -> MachineState:
        return self._machine.state

    @property
    def ending(self) -> Ending | None:
        """How the run ended; None while it has not."""
        return self._machine.ending

    @property
    def output(self) -> Output:
        """What the guest has printed."""
        return self._machine.output

    def pause(self) -> None:
        self._await(self._machine.pause)

    def resume(self) -> None:
        self._await(self._machine.resume)

    def stop(self) -> None:
        """Ends the run, if it has not ended."""
        self._await(self._machine.stop)

    def fork(self, count: int = 1) -> list["BlockingMachine"]:
        """So many machines that are what this one is now, paused: see `Machine.fork`."""
        forks = self._await(lambda: self._machine.fork(count))
        return [BlockingMachine(fork, self._token, fork.close) for fork in forks]

    def close(self) -> None:
        """Gives back what the machine holds: the report and the output are all that is left. One that runs is ended."""
        self._call(self._machine.close)

    def wait(self) -> "RunReport":
        """Returns when the run has ended."""
        return self._await(self._machine.wait)

    def expect(self, pattern: Pattern, timeout: float | None = None) -> "re.Match[bytes]":
        """Returns when the guest has printed what `pattern` matches. ExpectError if the run ends before, or takes longer."""
        __tracebackhide__ = True
        return self._await(lambda: self._machine.expect(pattern, timeout))

    def stream(self) -> Iterator[bytes]:
        """What the guest prints, from the beginning, piece by piece as it comes, until the run has ended."""
        position = 0
        while data := self._await(partial(self._machine.output_since, position)):
            position += len(data)
            yield data

    def send(self, data: str | bytes) -> None:
        """Types `data` on COM1's line."""
        self._call(lambda: self._machine.send(data))

    def press_ctrl_alt_delete(self) -> None:
        """Presses the three keys on the keyboard, which most kernels shut down or restart for."""
        self._call(self._machine.press_ctrl_alt_delete)

    def inject(self, interrupt: int | Literal["nmi"], vcpu: int = 0) -> None:
        """Sends a vCPU an interrupt, by its vector (16 to 255), or an NMI."""
        self._call(lambda: self._machine.inject(interrupt, vcpu))

    def observe(self, observer: VmObserver) -> None:
        """Tells `observer`, in the machine's thread, what happens from now on."""
        self._call(lambda: self._machine.observe(observer))

    def registers(self, vcpu: int = 0) -> dict[str, int]:
        """The general and control registers of a vCPU, by name."""
        return self._call(lambda: self._machine.registers(vcpu))

    def symbol(self, name: str) -> "Symbol":
        """The kernel's symbol of that name."""
        return self._machine.symbol(name)

    def page(self, gpa: int) -> "PageState":
        """The state of the page that holds a guest-physical address."""
        return self._machine.page(gpa)

    def read(self, length: int, *, gpa: int | None = None, gva: int | None = None, vcpu: int = 0) -> bytes:
        """Bytes of guest memory. Absent pages are loaded."""
        return self._await(lambda: self._machine.read(length, gpa=gpa, gva=gva, vcpu=vcpu))

    def write(self, data: bytes, *, gpa: int | None = None, gva: int | None = None, vcpu: int = 0) -> None:
        """Writes guest memory, as `read` reads it."""
        self._await(lambda: self._machine.write(data, gpa=gpa, gva=gva, vcpu=vcpu))

    def ept(self) -> "PageTable":
        """What the guest's nested page tables map now, in Intel's format."""
        return self._call(self._machine.ept)

    def places(self) -> list[str]:
        """Where every vCPU is, with the kernel's function and line if the image says: a line each."""
        return self._call(self._machine.places)

    def dump(self, file: str | os.PathLike[str]) -> None:
        """Writes an ELF core file of the guest."""
        self._call(lambda: self._machine.dump(file))

    def snapshot(
        self,
        file: str | os.PathLike[str],
        *,
        parent: str | os.PathLike[str] | None = None,
        compress: bool = False,
    ) -> None:
        """Writes the machine to a file that a machine can go on from."""
        self._await(lambda: self._machine.snapshot(file, parent=parent, compress=compress))

    def report(self) -> "RunReport":
        """The figures of the run: when it has ended, or so far."""
        return self._call(self._machine.report)

    def leave(self) -> None:
        """Ends the run, whatever state it is in, and closes the machine. `report` and `output` stay."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._leave)

    def _await(self, method: Callable[[], Awaitable[T]]) -> T:
        __tracebackhide__ = True
        try:
            return trio.from_thread.run(method, trio_token=self._token)
        except (trio.RunFinishedError, trio.Cancelled):  # before, or meanwhile
            raise MachineError(f"{self._machine.image}: the machine is closed") from None
        except KevError as error:
            raise error.with_traceback(None) from error.__cause__  # how threads were crossed is of no interest

    def _call(self, method: Callable[[], T]) -> T:
        __tracebackhide__ = True
        try:
            return trio.from_thread.run_sync(method, trio_token=self._token)
        except trio.RunFinishedError:
            return method()  # nobody else looks at it any more
        except KevError as error:
            raise error.with_traceback(None) from error.__cause__


@contextmanager
def run_in_thread(start: Callable[[], AbstractAsyncContextManager[Machine]]) -> Iterator[BlockingMachine]:
    """Starts a machine in a thread, which ends with the block. Whatever `start` raises."""
    run = _Run(start)
    thread = threading.Thread(target=run, name="kev-machine", daemon=True)
    failed: Exception | None = None
    try:
        thread.start()
        run.started.wait()
        if run.machine is not None:
            yield run.machine
    except Exception as error:
        failed = error
    finally:
        run.leave()
        if thread.ident is not None:
            thread.join()
    if run.error is not None:
        # If the block has failed, too, then because of that: all that it was told is that the machine is closed.
        run.error.__context__ = run.error.__context__ or failed
        raise run.error
    if failed is not None:
        raise failed


class _Run:
    """What the thread does, and what came of it."""

    def __init__(self, start: Callable[[], AbstractAsyncContextManager[Machine]]) -> None:
        self.started: Final = threading.Event()
        """The machine runs, or there is an error."""
        self.machine: BlockingMachine | None = None
        self.error: BaseException | None = None
        self._start: Final = start
        self._is_left = False

    def __call__(self) -> None:
        try:
            trio.run(self._hold)
        except BaseException as error:
            self.error = error
        finally:
            self.started.set()

    def leave(self) -> None:
        """Ends the machine, also if it is not there yet."""
        self._is_left = True
        if self.machine is not None:
            self.machine.leave()

    async def _hold(self) -> None:
        left = trio.Event()
        async with self._start() as machine:
            self.machine = BlockingMachine(machine, trio.lowlevel.current_trio_token(), left.set)
            self.started.set()
            if not self._is_left:
                await left.wait()
