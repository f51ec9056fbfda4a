"""Starting a machine and holding it: see `start`."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from kev.machine.api import Image, opened, refuse_in_trio, refuse_outside_trio, wanted_machine

if TYPE_CHECKING:
    from typing import Unpack

    from kev.machine.blocking import BlockingMachine
    from kev.machine.machine import Machine
    from kev.spec.wishes import Wishes


def start(image: Image, *, paused: bool = False, **wishes: "Unpack[Wishes]") -> "Starting":
    """Launches a kernel beside the caller, who holds the machine: in a trio program and everywhere else.

        async with kev.start("gKeOS") as machine:      with kev.start("gKeOS") as machine:
            await machine.expect("Hello")                  machine.expect("Hello")

    The first is a `kev.machine.machine.Machine`, whose coroutines are trio's; the second, a `kev.machine.blocking.BlockingMachine`,
    runs it in a thread of its own. Either is ended, if it has not ended, when its block is left, whatever the reason.

    `image` and `wishes` are those of `kev.launch`. `paused`: it waits for `resume` before its first instruction. KevError, when the
    block is entered, if the image or a wish is at fault.
    """
    return Starting(image, paused, wishes)


class Starting:
    """A machine that is about to be started, by `async with` or by `with`."""

    def __init__(self, image: Image, paused: bool, wishes: Mapping[str, Any]) -> None:
        self._start: Final = partial(running, image, wishes, paused=paused)
        self._entered: AbstractAsyncContextManager[Machine]
        self._stack: Final = ExitStack()

    async def __aenter__(self) -> "Machine":
        refuse_outside_trio()
        self._entered = self._start()
        return await self._entered.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._entered.__aexit__(kind, error, traceback)

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"{name!r}: a machine is started by `with kev.start(...) as machine:`, in trio by `async with`")

    def __enter__(self) -> "BlockingMachine":
        from kev.machine.blocking import run_in_thread

        refuse_in_trio("`with kev.start(...)`", "`async with`")
        return self._stack.enter_context(run_in_thread(self._start))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, traceback)


@asynccontextmanager
async def running(
    image: Image, wishes: Mapping[str, Any], *, paused: bool = False, keeps_output: bool = True
) -> AsyncIterator["Machine"]:
    """A machine that runs beside the block, and ends with it. `keeps_output`: `Machine.output` has what its guest prints."""
    wanted = wanted_machine(image, wishes)
    with opened(wanted) as machine:
        if keeps_output:
            machine.keep_output()
        machine.vm.expects_input = True
        async with driven(machine, timeout=wanted.spec.timeout, paused=paused):
            yield machine


@asynccontextmanager
async def driven(
    machine: "Machine", *, timeout: float | None, paused: bool = False, policy_has_run: bool = False
) -> AsyncIterator[None]:
    """An open machine runs beside the block, and ends with it. The arguments are those of `kev.machine.driving.drive`."""
    import trio

    from kev.machine.driving import drive
    from kev.machine.forked import Forks
    from kev.machine.ungrouped import ungrouped

    forks: Forks | None = None
    try:
        with ungrouped():
            async with trio.open_nursery() as nursery:
                assert machine.build_alike is not None
                forks = machine.relatives = Forks(nursery, machine.build_alike)
                await nursery.start(partial(drive, machine, timeout=timeout, paused=paused, policy_has_run=policy_has_run))
                yield
                nursery.cancel_scope.cancel()
    finally:
        await machine.end_accesses()
        if forks is not None:
            await forks.close()
