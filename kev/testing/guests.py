"""The machines of one test."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import attrs

from kev.errors import KevError
from kev.machine.api import Image
from kev.machine.blocking import BlockingMachine
from kev.machine.event_log import LastExits
from kev.machine.machine import Machine
from kev.machine.start import start

_LONGEST_CONSOLE: Final = 20_000
"""Characters of a console's end that are shown."""


class MarkError(KevError):
    """A mark `guest` does not say which machine is to be started. Says how many images it names."""


@attrs.frozen(slots=True)
class _Started:
    """A machine of the test, and what is kept to be shown."""

    machine: Machine | BlockingMachine
    exits: LastExits

    def sections(self, number: str) -> Iterator[tuple[str, str]]:
        machine = self.machine
        name = f"guest {machine.image}{number}"
        yield f"{name}: console", machine.output.text[-_LONGEST_CONSOLE:]
        ending = machine.ending
        yield f"{name}: vCPUs", "\n".join([*machine.places(), *([] if ending is None else [f"ended: {ending}"])])
        exits = [f"vCPU {vcpu}  {line}" for vcpu in range(machine.vcpus) for line in self.exits.lines(vcpu)]
        yield f"{name}: last exits", "\n".join(exits)


class Guests:
    """Starts machines for a test. Called, it starts one; attributes that are not its own are those of the marked one."""

    def __init__(self, timeout: float) -> None:
        """`timeout`, in seconds, is that of machines for which none is given."""
        self._timeout: Final = timeout
        self._stack: Final = ExitStack()
        self._started: Final[list[_Started]] = []
        self._marked: BlockingMachine | None = None

    def __call__(self, image: Image, **wishes: Any) -> BlockingMachine:
        """Starts a machine, which ends with the test at the latest. KevError as from `kev.start`."""
        machine = self._stack.enter_context(start(image, **{"timeout": self._timeout, "paused": True, **wishes}))
        self._watch(machine)
        if not wishes.get("paused"):
            machine.resume()
        return machine

    @asynccontextmanager
    async def start(self, image: Image, **wishes: Any) -> AsyncIterator[Machine]:
        """The same for tests that are tasks of trio: the machine runs in the block."""
        async with start(image, **{"timeout": self._timeout, "paused": True, **wishes}) as machine:
            self._watch(machine)
            if not wishes.get("paused"):
                await machine.resume()
            yield machine

    def start_marked(self, *arguments: Image, **wishes: Any) -> None:
        """Starts the machine that the test is marked with. MarkError if the mark does not name one image."""
        images = [*arguments, *([wishes.pop("image")] if "image" in wishes else [])]
        if len(images) != 1:
            raise MarkError(f"the mark `guest` names one image, as `@pytest.mark.guest(IMAGE)`, not {len(images)}")
        self._marked = self(images[0], **wishes)

    def sections(self) -> list[tuple[str, str]]:
        """What is to be shown of every machine: a title and a text each."""
        several = len(self._started) > 1
        return [
            section
            for number, started in enumerate(self._started, 1)
            for section in started.sections(f" ({number})" if several else "")
        ]

    def _watch(self, machine: Machine | BlockingMachine) -> None:
        exits = LastExits(machine.vcpus)
        machine.observe(exits)
        self._started.append(_Started(machine, exits))

    def __getattr__(self, name: str) -> Any:
        if self._marked is None:
            raise AttributeError(f"the fixture `guest` has no {name!r}: start a machine, or mark the test with `guest`")
        return getattr(self._marked, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.close()
