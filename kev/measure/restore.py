"""`kev bench restore`: how soon a machine that was saved goes on, beside the same one that is booted, or forked.

Five scenarios. `ways` is gKeOS to its last line: booted, going on from a snapshot and forked, behind its banner and when it has
booted, in a warm process and as a new process, and its Multiboot 1 twin on QEMU. `source` is the same, saved behind the banner, by
paging policy and latency of the source. `image` is a tiny guest with a segment behind it that it never touches, `memory` the same
with more and more RAM, and `touched` is gKeOS with RAM of which more and more was touched before it was saved.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from kev.addressing import GIB, MIB, TIB
from kev.errors import known_names
from kev.guests.images import open_image_or_url, open_root_file_system
from kev.measure.case import Case
from kev.measure.errors import BenchError
from kev.measure.held import ForkRun, save_at
from kev.measure.image import write_padded_image
from kev.measure.line import FirstInstruction, Line, LineRun, working_set_of
from kev.measure.processes import kev_run, measure_process, qemu_run
from kev.measure.qemu import QemuSnapshot
from kev.measure.touched import FIRST, write_touched
from kev.measure.units import latency_text, size_text
from kev.pager.policy import Around, Eager, PagingPolicy
from kev.pager.prefetch import Prefetch
from kev.pager.record import Record
from kev.pager.source import is_snapshot
from kev.spec.machine_spec import MachineSpec

_GUEST: Final = "gKeOS"
_TWIN: Final = "mb1"
_BANNER: Final = "gKeOS, a KeOS-style guest kernel"
_LAST: Final = "Hello guest os!"
_PLACES: Final = {"banner": f"output:{_BANNER}", "booted": "output:subsystems: "}
"""Where gKeOS is saved: before and behind almost all that it does."""
_MEMORY: Final = 256 * MIB
_TINY_GUEST: Final = "hypercalls"
_AROUND: Final = 16


@attrs.frozen(slots=True, kw_only=True)
class RestoreBenchOptions:
    """What `kev bench restore` goes through. Sizes in bytes, latencies in seconds."""

    image_sizes: tuple[int, ...] = (MIB, 256 * MIB, 4 * GIB)
    memory_sizes: tuple[int, ...] = (64 * MIB, 16 * GIB, TIB)
    touched_sizes: tuple[int, ...] = (64 * MIB, GIB, 64 * GIB)
    latencies: tuple[float, ...] = (0.0, 0.002)
    scenarios: tuple[str, ...] = ("ways", "source", "image", "memory", "touched")
    machines: tuple[MachineSpec, ...] = ()
    """Machines to go through instead: snapshots, or guests that are saved `at` a condition."""
    at: str | None = None
    until: str | None = None
    """The text that they are measured to; their runs end with it. None for whatever they print first, and to their ends."""


class RestoreBench:
    """The cases, and what they are made of in one folder."""

    def __init__(self, options: RestoreBenchOptions, folder: Path) -> None:
        self._options: Final = options
        self._folder: Final = folder
        self.notes: Final[dict[str, str]] = {}
        """What is to be known of them, by name."""

    def cases(self) -> Iterator[Case]:
        """All of them. BenchError if there is no such scenario, or if a machine cannot be saved."""
        for number, spec in enumerate(self._options.machines):
            yield from self._of_machine(spec, self._folder / f"machine-{number}.snap")
        if self._options.machines:
            return
        for name in self._options.scenarios:
            if name not in _SCENARIOS:
                raise BenchError(f"no scenario is named {name!r}: {known_names(name, _SCENARIOS)}")
            yield from _SCENARIOS[name](self)

    def _of_machine(self, spec: MachineSpec, file: Path) -> Iterator[Case]:
        line = Line(self._options.until or "", ends_run=self._options.until is not None)
        snapshot, where = spec, ""
        boots = not _is_snapshot(spec.image)
        if boots:
            if self._options.at is None:
                raise BenchError(f"{spec.image}: is no snapshot: `--at CONDITION` says where it is to be saved")
            where = self._options.at
            save_at(spec, where, file)
            snapshot = MachineSpec(file, timeout=spec.timeout)
        for latency in self._options.latencies:
            if boots:
                yield from self._policies("machine", spec, line, latency, image=spec.image, what="boot")
            yield from self._policies("machine", snapshot, line, latency, image=spec.image, what="restore")
        names = {"image": spec.image, "what": "fork", "policy": "", "latency": latency_text(0)}
        yield Case("machine", names, ForkRun(spec, where, line).measure)

    def _ways(self) -> Iterator[Case]:
        line, guest = Line(_LAST), MachineSpec(_GUEST, memory=_MEMORY)
        yield _way("boot", "", LineRun(guest, line, PagingPolicy).measure)
        for place, where in _PLACES.items():
            yield _way("restore", place, LineRun(MachineSpec(self._saved_guest(place)), line, PagingPolicy).measure)
            yield _way("fork", place, ForkRun(guest, where, line).measure)
        yield _process("kev run gKeOS", "", kev_run(_GUEST))
        for place in _PLACES:
            yield _process("kev run SNAPSHOT", place, kev_run(str(self._saved_guest(place))))
        yield from self._qemu()

    def _qemu(self) -> Iterator[Case]:
        twin = self._folder / _TWIN
        twin.write_bytes(_file(_TWIN))
        command = qemu_run(twin, _MEMORY)
        if command is None:
            self.notes["QEMU's snapshots"] = "none: qemu-system-x86_64 is not installed"
            return
        yield _process("QEMU", "", command)
        try:
            saved = QemuSnapshot.save(command, self._folder / "qemu", _BANNER.encode(), _LAST.encode())
        except BenchError as error:
            self.notes["QEMU's snapshots"] = f"none: {error}"
            return
        self.notes["QEMU's snapshots"] = saved.method
        yield _way("QEMU -incoming", "banner", lambda: saved.measure(_LAST.encode()), saved.command)

    def _sources(self) -> Iterator[Case]:
        line, snapshot = Line(_LAST), MachineSpec(self._saved_guest("banner"))
        for latency in self._options.latencies:
            yield from self._policies("source", MachineSpec(_GUEST, memory=_MEMORY), line, latency, what="boot")
            yield from self._policies("source", snapshot, line, latency, what="restore")

    def _policies(self, scenario: str, spec: MachineSpec, line: Line, latency: float, **names: str) -> Iterator[Case]:
        working_set = working_set_of(spec, line)
        policies: dict[str, Callable[[], PagingPolicy]] = {
            "lazy": PagingPolicy,
            "eager": Eager,
            f"around={_AROUND}": lambda: Around(_AROUND),
            "record": Record,
            "prefetch": lambda: Prefetch(working_set),
        }
        slow = spec.replace(source_latency=f"{latency * 1e3:g}ms") if latency else spec
        for policy, make in policies.items():
            yield Case(scenario, {**names, "policy": policy, "latency": latency_text(latency)}, LineRun(slow, line, make).measure)

    def _image_sizes(self) -> Iterator[Case]:
        for size in self._options.image_sizes:
            image = self._padded(size)
            snapshot = self._saved(MachineSpec(image, memory=16 * GIB), f"image-{size_text(size)}")
            for policy, make in (("lazy", PagingPolicy), ("eager", Eager)):
                yield Case("image", {"image": size_text(size), "policy": policy}, LineRun(snapshot, Line(""), make).measure)

    def _memory_sizes(self) -> Iterator[Case]:
        image = self._padded(MIB)
        for size in self._options.memory_sizes:
            snapshot = self._saved(MachineSpec(image, memory=size), f"memory-{size_text(size)}")
            yield Case("memory", {"memory": size_text(size), "policy": "lazy"}, LineRun(snapshot, Line(""), PagingPolicy).measure)

    def _touched(self) -> Iterator[Case]:
        sizes = self._options.touched_sizes
        small = self._folder / "untouched.snap"
        save_at(MachineSpec(_GUEST, memory=FIRST + max(sizes) + GIB), _PLACES["banner"], small)
        for size in sizes:
            file = self._folder / f"touched-{size_text(size)}.snap"
            write_touched(small, file, size)
            yield Case("touched", {"touched": size_text(size)}, FirstInstruction(MachineSpec(file)).measure)

    def _saved_guest(self, place: str) -> Path:
        file = self._folder / f"{_GUEST}-{place}.snap"
        if not file.exists():
            save_at(MachineSpec(_GUEST, memory=_MEMORY), _PLACES[place], file)
        return file

    def _saved(self, spec: MachineSpec, name: str) -> MachineSpec:
        """The tiny guest, saved when it has executed an instruction."""
        file = self._folder / f"{name}.snap"
        save_at(spec, "instructions:1", file)
        return MachineSpec(file)

    def _padded(self, size: int) -> Path:
        image = self._folder / f"{_TINY_GUEST}-{size_text(size)}"
        if not image.exists():
            write_padded_image(_file(_TINY_GUEST), image, size)
        return image


_SCENARIOS: Final[dict[str, Callable[[RestoreBench], Iterator[Case]]]] = {
    "ways": RestoreBench._ways,
    "source": RestoreBench._sources,
    "image": RestoreBench._image_sizes,
    "memory": RestoreBench._memory_sizes,
    "touched": RestoreBench._touched,
}


def _way(what: str, saved: str, measure: Callable[[], dict[str, float]], command: Sequence[str] = ()) -> Case:
    return Case("ways", {"what": what, "saved": saved}, measure, tuple(command))


def _process(what: str, saved: str, command: tuple[str, ...]) -> Case:
    return _way(what, saved, lambda: measure_process(command, _LAST.encode(), "line_ms"), command)


def _is_snapshot(image: str) -> bool:
    with open_image_or_url(image) as (source, guest):
        return guest is None and is_snapshot(source)


def _file(name: str) -> bytes:
    with open_root_file_system() as files:
        return files.open(name).read()
