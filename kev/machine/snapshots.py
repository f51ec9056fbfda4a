"""Machines as files: a machine is written to a snapshot, and a machine goes on from one."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple, Protocol, TypeAlias

from kev.guests.catalogue import Guest, guest_meant
from kev.guests.images import open_image_or_url
from kev.machine.at_once import finished
from kev.machine.file_identity import check, identify
from kev.machine.saved import load_vm, save_vm
from kev.machine.schedule import RunScheduler
from kev.machine.vm import Vm
from kev.pager.kernel import trio_rendezvous
from kev.pager.saved import runs_of
from kev.pager.source import AsynchronousSource, FileSource, SynchronousSource, is_snapshot
from kev.pager.survey import Survey
from kev.snapshot.description import FREE, Description, FileIdentity, ParentReference, located
from kev.snapshot.errors import SnapshotError
from kev.snapshot.memory import SnapshotMemory
from kev.snapshot.reader import SnapshotFile
from kev.snapshot.writer import SnapshotWriter
from kev.spec.machine_spec import MachineSpec
from kev.state import PART, Fields, State, StateError
from kev.user_files import real_path
from kev.version import __version__

Source: TypeAlias = SynchronousSource | AsynchronousSource
_LONGEST_CHAIN: Final = 64
_STATE: Final = Fields({}, machine=PART, scheduler=PART)


class SavableMachine(Protocol):
    """What is saved: see `kev.machine.machine.Machine`."""

    spec: MachineSpec | None

    @property
    def vm(self) -> Vm: ...

    @property
    def scheduler(self) -> RunScheduler: ...

    @property
    def seed(self) -> int | None: ...


class SavedMachine(NamedTuple):
    """What a new machine has to become."""

    name: str
    memory: SnapshotMemory
    state: State
    boot_time: int
    keeps_schedule: bool
    """The schedule that was saved goes on; else it begins anew."""

    def load(self, machine: SavableMachine) -> None:
        """Makes `machine`, whose pager was restored already, the one that was saved. SnapshotError if it cannot be."""
        try:
            parts = _STATE.load(machine, "snapshot", self.state)
            if self.keeps_schedule:
                machine.scheduler.load(parts["scheduler"])
            load_vm(machine.vm, parts["machine"])
        except StateError as error:
            raise SnapshotError(f"{self.name}: {error}") from error


class Restored(NamedTuple):
    """What is opened for a machine that goes on from a snapshot."""

    spec: MachineSpec
    source: Source
    """The image's."""
    guest: Guest | None
    saved: SavedMachine


def spec_to_save(machine: SavableMachine, name: str) -> MachineSpec:
    """What the machine is made of. SnapshotError, which names the snapshot by `name`, if a snapshot could not say that."""
    if machine.spec is None:
        raise SnapshotError(
            f"{name}: the machine's image is no file, guest or URL: a snapshot could not name it; "
            "a disk that it boots from can be its image"
        )
    return machine.spec


async def write_snapshot(
    machine: SavableMachine, file: str | os.PathLike[str], parent: str | os.PathLike[str] | None, compress: bool
) -> SnapshotWriter:
    """Writes a machine that stands still, and stays so until this returns; what is returned is to be committed.

    See `kev.machine.machine.Machine.snapshot`. Waits for nothing where no source does.
    """
    name = os.fspath(file)
    spec = spec_to_save(machine, name)
    with ExitStack() as opened:
        memory, reference = None, None
        if parent is not None:
            memory, reference = opened.enter_context(_parent(os.fspath(parent), name))
        # The machine does not run meanwhile: what is saved of it, and its pages, belong together.
        state = _STATE.save(machine, machine=save_vm(machine.vm), scheduler=machine.scheduler.save())
        description = _describe(machine, spec, reference)
        survey = Survey(machine.vm.pager, memory)
        chunks = survey.chunks()
        writer = SnapshotWriter(file, description.save(), state, chunks, compress=compress)
        try:
            for chunk in chunks:
                writer.add(chunk, await survey.pages(chunk))
            writer.finish()
        except BaseException:
            writer.discard()
            raise
        return writer


@contextmanager
def restored(wanted: MachineSpec, source: Source, slowed: Callable[[Source], Source]) -> Iterator[Restored]:
    """Opens all that the machine needs which goes on from the snapshot in `source`, as `wanted` has it.

    `slowed` makes of a source what pages are read from. SnapshotError if a file of it is not what it was, or if `wanted` has
    what the snapshot has differently.
    """
    with ExitStack() as opened:
        chain, description = opened.enter_context(_chain(source, slowed))
        spec = _with_files_found(description, description.combined(wanted, source.name), source.name)
        image, guest = opened.enter_context(open_image_or_url(spec.image, spec.retry))
        saved = SavedMachine(
            name=source.name,
            memory=SnapshotMemory(chain),
            state=chain[0].state(),
            boot_time=description.boot_time,
            keeps_schedule=wanted.seed is None,
        )
        yield Restored(spec, image, guest, saved)


def present_pages(source: Source) -> list[range]:
    """The guest-physical addresses of the pages that a snapshot, with its parents, has: runs of pages, in order. SnapshotError."""
    with _chain(source, _as_it_is) as (files, _):
        memory = SnapshotMemory(files)
        return [run for chunk in memory.chunks() for run in runs_of(chunk, finished(memory.present(chunk)))]


def of_snapshot(wanted: MachineSpec) -> MachineSpec:
    """With what the snapshot fixes, if the image is one and a file of the host. SnapshotError as from `restored`."""
    if guest_meant(wanted.image) is not None or not os.path.isfile(wanted.image):
        return wanted
    with FileSource(wanted.image) as source:
        if not is_snapshot(source):
            return wanted
        description = Description.load(SnapshotFile(source, trio_rendezvous).machine(), source.name)
        return description.combined(wanted, source.name)._replace(image=wanted.image)


def _describe(machine: SavableMachine, spec: MachineSpec, parent: ParentReference | None) -> Description:
    return Description(
        kev=__version__,
        spec=_with_absolute_names(spec),
        seed=machine.seed,
        boot_time=machine.vm.boot_time,
        time=machine.vm.clock.now(),
        instructions=machine.vm.instructions,
        ram=machine.vm.pager.ram,
        files=tuple(_files(spec)),
        parent=parent,
    )


def _files(spec: MachineSpec) -> Iterator[FileIdentity]:
    guest = guest_meant(spec.image)
    yield identify("image", spec.image, packed=guest is not None)
    for module in spec.modules:
        yield identify("module", module.path)
    if guest is not None and not spec.modules:
        for name in guest.modules:
            yield identify("module", name, packed=True)
    if spec.boot_sector is not None:
        yield identify("boot sector", spec.boot_sector)
    for disk in spec.disks:
        yield identify("disk", disk.path)
        if disk.overlay:
            yield identify("overlay", disk.overlay)
    if guest is not None and not spec.disks and guest.disk:
        for name in guest.disk_files:
            yield identify("disk", name, packed=True)


def _with_absolute_names(spec: MachineSpec) -> MachineSpec:
    image = spec.image
    if "://" not in image and guest_meant(image) is None:
        image = os.path.abspath(image)
    return spec._replace(
        **dict.fromkeys(FREE),
        image=image,
        modules=tuple(module._replace(path=os.path.abspath(module.path)) for module in spec.modules),
        boot_sector=None if spec.boot_sector is None else os.path.abspath(spec.boot_sector),
        disks=tuple(
            disk._replace(path=os.path.abspath(disk.path), overlay=disk.overlay and os.path.abspath(disk.overlay))
            for disk in spec.disks
        ),
    )


def _with_files_found(description: Description, spec: MachineSpec, snapshot: str) -> MachineSpec:
    """The description with the places where its files are now. SnapshotError if one is missing or has changed."""
    places = {}
    for identity in description.files:
        places[identity.name] = name = identity.name if identity.packed else _place(identity, snapshot)
        check(identity, name, snapshot)
    return spec._replace(
        image=places.get(spec.image, spec.image),
        modules=tuple(module._replace(path=places.get(module.path, module.path)) for module in spec.modules),
        boot_sector=None if spec.boot_sector is None else places.get(spec.boot_sector, spec.boot_sector),
        disks=tuple(
            disk._replace(path=places.get(disk.path, disk.path), overlay=places.get(disk.overlay, disk.overlay))
            for disk in spec.disks
        ),
    )


def _place(identity: FileIdentity, snapshot: str) -> str:
    """Where a file is: where it was, or beside the snapshot."""
    if "://" in identity.name or os.path.exists(identity.name):
        return identity.name
    beside = os.path.join(os.path.dirname(snapshot), os.path.basename(identity.name))
    if os.path.exists(beside):
        return os.path.join(os.curdir, beside) if os.sep not in beside else beside
    raise SnapshotError(f"{snapshot}: {identity.role} {identity.name} is missing, there and beside the snapshot")


@contextmanager
def _chain(source: Source, slowed: Callable[[Source], Source]) -> Iterator[tuple[list[SnapshotFile], Description]]:
    """A snapshot, behind it its parents, and its description. SnapshotError if a parent is missing or is another one."""
    with ExitStack() as opened:
        files = [SnapshotFile(slowed(source), trio_rendezvous)]
        description = Description.load(files[0].machine(), files[0].name)
        parent = description.parent
        while parent is not None:
            if len(files) == _LONGEST_CHAIN:
                raise SnapshotError(f"{source.name}: has more than {_LONGEST_CHAIN - 1} parents, one behind the other")
            name = located(parent.file, files[-1].name)
            found = SnapshotFile(slowed(opened.enter_context(_opened(name, files[-1].name))), trio_rendezvous)
            if found.header.id != parent.id:
                raise SnapshotError(f"{files[-1].name}: its parent {name} is another snapshot than the one that it was made from")
            files.append(found)
            parent = Description.load(found.machine(), name).parent
        yield files, description


def _as_it_is(source: Source) -> Source:
    return source


@contextmanager
def _opened(name: str, child: str) -> Iterator[Source]:
    if "://" in name:
        with open_image_or_url(name) as (source, _):
            yield source
    elif os.path.exists(name):
        with FileSource(name) as file:
            yield file
    else:
        raise SnapshotError(f"{child}: its parent {name} is missing")


@contextmanager
def _parent(name: str, child: str) -> Iterator[tuple[SnapshotMemory, ParentReference]]:
    """A snapshot, and how its child refers to it."""
    if "://" not in name and real_path(name) == real_path(child):
        raise SnapshotError(f"{child}: cannot be a difference to itself")
    with _opened(name, child) as source, _chain(source, _as_it_is) as (files, _):
        folder = os.path.dirname(real_path(child))
        file = name if "://" in name else os.path.relpath(real_path(name), folder)
        yield SnapshotMemory(files), ParentReference(file, files[0].header.id)
