"""Starting a machine and holding it: see `start`."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from kev.machine.api import Image, opened

if TYPE_CHECKING:
    from kev.machine.blocking import BlockingMachine
    from kev.machine.machine import Machine


def start(image: Image, *, timeout: float | None = None, paused: bool = False, **wishes: Any) -> "Starting":
    """Launches a kernel beside the caller, who holds the machine: in a trio program and everywhere else.

        async with kev.start("gKeOS") as machine:      with kev.start("gKeOS") as machine:
            await machine.expect("Hello")                  machine.expect("Hello")

    The first is a `kev.machine.machine.Machine`, whose coroutines are trio's; the second, a `kev.machine.blocking.BlockingMachine`,
    runs it in a thread of its own. Either is ended, if it has not ended, when its block is left, whatever the reason.

    `image` and `wishes` are those of `kev.launch`. `timeout` ends the run after so many seconds. `paused`: it waits for `resume`
    before its first instruction. KevError, when the block is entered, if the image or a wish is at fault.
    """
    return Starting(image, timeout, paused, wishes)


class Starting:
    """A machine that is about to be started, by `async with` or by `with`."""

    def __init__(self, image: Image, timeout: float | None, paused: bool, wishes: dict[str, Any]) -> None:
        self._start: Final = partial(running, image, timeout=timeout, paused=paused, **wishes)
        self._entered: AbstractAsyncContextManager[Machine]
        self._stack: Final = ExitStack()

    async def __aenter__(self) -> "Machine":
        self._entered = self._start()
        return await self._entered.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._entered.__aexit__(kind, error, traceback)

    def __enter__(self) -> "BlockingMachine":
        from kev.machine.blocking import run_in_thread

        return self._stack.enter_context(run_in_thread(self._start))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, traceback)


@asynccontextmanager
async def running(image: Image, *, timeout: float | None = None, paused: bool = False, **wishes: Any) -> AsyncIterator["Machine"]:
    """A machine that runs beside the block, and ends with it."""
    import trio

    from kev.machine.driving import drive

    with opened(image, **wishes) as machine:
        machine.keep_output()
        machine.vm.expects_input = True
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(drive, machine, timeout=timeout, paused=paused))
                yield machine
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # What the block raises is its own, and not a group's.
            raise group.exceptions[0] if len(group.exceptions) == 1 else group from None
