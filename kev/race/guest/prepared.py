"""A guest's machine, brought to where its runs begin: launched, or gone on from a snapshot, or run until a condition is met."""

from contextlib import ExitStack
from itertools import islice
from typing import Final

import attrs

from kev.addressing import Gpa
from kev.boot.base import BootOptions
from kev.engine.factory import engine_named
from kev.errors import nearest_of
from kev.machine.at_once import finished
from kev.machine.builder import MachineOptions
from kev.machine.conditions import Condition, KeyPressed, condition
from kev.machine.exit_costs import CURRENT
from kev.machine.launcher import prepare
from kev.machine.machine import Machine
from kev.machine.schedule import CountedScheduler
from kev.machine.snapshots import SavedMachine
from kev.machine.step import Stopped
from kev.pager.image import KernelImage
from kev.race.errors import RaceError
from kev.race.guest.fairness import BETWEEN_COMPARISONS, Repetition
from kev.race.guest.files import read_files
from kev.race.guest.snapshot import SnapshotReference, opened_snapshot
from kev.race.guest.source import ScheduledSource
from kev.race.guest.stage import Stage
from kev.race.guest.store_buffers import StoreBuffers
from kev.race.memory_model import MemoryModel
from kev.spec.machine_spec import MachineSpec
from kev.work.stopping import check

LONGEST_FREE_RUN: Final = 3_000_000_000
"""Instructions of all vCPUs together: a guest has to come to its end, or to a point, within so many."""
PATIENCE: Final = 20_000
"""Steps in a row after which a vCPU is taken to be waiting for another in a loop."""
_MOST_NAMES: Final = 5_000
"""Symbols among which one is looked for that is spelt alike."""
_ENGINES: Final = engine_named(keeps_hosts=True)


class CannotRace(RaceError):
    """A guest has but one vCPU, does not come to its end even if nobody interferes, or not to where its runs are to begin."""


@attrs.frozen(slots=True)
class Start:
    """What runs begin with."""

    spec: MachineSpec
    exit_costs: int = CURRENT
    """Which of `kev.machine.exit_costs.EXIT_COSTS` says what exits take."""
    random_seed: int = 0
    """What RDRAND and RDSEED draw from."""
    snapshot: SnapshotReference | None = None
    """The machine that goes on; `spec` is what it was made as."""
    after: str = ""
    """A condition that is met first: see `kev.machine.conditions`."""
    model: MemoryModel = MemoryModel.SC
    """When others see what a vCPU stores."""

    @property
    def is_launch(self) -> bool:
        """Nothing comes before."""
        return self.snapshot is None and not self.after


class PreparedMachine:
    """A machine where runs begin. Its pages come by a schedule from now on."""

    def __init__(self, start: Start) -> None:
        """CannotRace if it does not come there; KevError for whatever is wrong with its files."""
        files = read_files(start.spec)
        source = ScheduledSource(files.image)
        with ExitStack() as opened:
            saved = None
            if start.snapshot is not None:
                saved = opened.enter_context(opened_snapshot(start.snapshot.file, MachineSpec())).saved
            source.scheduled = start.is_launch
            machine = _machine(start, source, saved)
            opened.callback(machine.vm.pager.close)
            opened.callback(machine.vm.engine.close)
            if saved is not None:
                _load_what_was_present(machine)
            if start.after:
                _run_until(machine, start)
            source.scheduled = True
            if not start.is_launch:
                machine.vm.engine.forget_mappings()  # as whoever goes back here has forgotten them
            self.random_numbers: Final = [vcpu.state.random_numbers for vcpu in machine.vm.vcpus]
            """How many each vCPU has asked for before."""
            buffers = None
            if start.model is not MemoryModel.SC:
                buffers = StoreBuffers(machine.vm, split=start.model is MemoryModel.SPLIT)
            self.stage: Final = Stage(machine.vm, files.image, buffers)
            self.close: Final = opened.pop_all().close
            """Gives back what it holds."""


def point_of_interest(text: str, image: KernelImage) -> Condition:
    """The condition that `text` is; or else a symbol of `image`, or else a text of the output. ConditionError, RaceError."""
    if not text:
        raise RaceError("after: '': it must be a condition, a symbol of the image, or a text of the output")
    kind, _, _ = text.partition(":")
    if kind in ("output", "symbol", "instructions", "hypercall", "key"):
        found = condition(text)
        if isinstance(found, KeyPressed):
            raise RaceError("after: 'key': not in a race: nobody types")
        return found
    name = text.partition("+")[0]
    if any(symbol.name in (name, text) for symbol in image.symbols):
        return condition(f"symbol:{text}")
    return condition(f"output:{text}")


def _machine(start: Start, source: ScheduledSource, saved: SavedMachine | None) -> Machine:
    spec, files = start.spec, read_files(start.spec)
    resolved = spec.resolved(None if files.guest is None else files.guest.spec)
    assert resolved.vcpus is not None
    assert resolved.memory is not None
    assert resolved.syscall is not None
    options = MachineOptions(
        vcpus=resolved.vcpus,
        virtual_time=True,
        exit_costs=start.exit_costs,
        random_seed=start.random_seed,
        syscall=resolved.syscall,
        lenient_msr=bool(spec.lenient_msr),
        strict_ports=bool(spec.strict_ports),
        strict_memory=bool(spec.strict_memory),
        drives=files.drives(),
        boot_time=0,
    )
    return prepare(
        source,
        memory=resolved.memory,
        options=options,
        boot=BootOptions(resolved.command_line or "", files.modules),
        protocol=resolved.protocol,
        abi=resolved.abi,
        engines=_ENGINES,
        saved=saved,
    )


def _load_what_was_present(machine: Machine) -> None:
    """So that pages are to a run from a snapshot what they would be to one that had come there itself."""
    pager = machine.vm.pager

    async def load() -> None:
        for pages in await pager.occupied():
            await pager.load_range(Gpa(pages.start), Gpa(pages.stop))

    finished(load())


def _run_until(machine: Machine, start: Start) -> None:
    """Until the condition is met, vCPUs take turns, and nobody waits for a page."""
    vm = machine.vm
    disarm = condition(start.after).arm(machine)
    scheduler = CountedScheduler(PATIENCE)
    repetition = Repetition(vm)
    turns = 0
    while not isinstance(vm.step(scheduler), Stopped):
        check()
        turns += 1
        if turns % BETWEEN_COMPARISONS == 0 and repetition.comes():
            places = "; ".join(machine.post_mortem.lines())
            raise CannotRace(f"{start.spec.image} does not come to {start.after}: the same state comes again and again: {places}")
        if vm.ending is not None:
            raise CannotRace(f"{start.spec.image} has ended before {start.after} ({vm.ending}){_meant(machine, start.after)}")
        if vm.instructions > LONGEST_FREE_RUN:
            raise CannotRace(f"{start.spec.image} has executed {vm.instructions:,} instructions, but not come to {start.after}")
    disarm()


def _meant(machine: Machine, where: str) -> str:
    """What to add where a text was waited for that may have been a symbol, misspelt."""
    word = where.removeprefix("output:")
    if word == where or not word.isidentifier():
        return ""
    names = {symbol.name for symbol in islice(machine.vm.pager.image.symbols, _MOST_NAMES)}
    nearest = nearest_of(word, sorted(names))
    return "" if nearest is None else f"; if it is to be a symbol: is it {nearest!r}?"
