"""Many machines, each launched once, and what came of each as soon as it ends."""

import os
import socket
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kev.addressing import MIB
from kev.errors import KevError
from kev.fleet.errors import FleetError
from kev.fleet.packing import ByPage
from kev.guests.catalogue import guest_meant
from kev.guests.spec_files import is_guest
from kev.machine.ending import Ending, EndingKind
from kev.spec.errors import SpecError
from kev.spec.machine_spec import MachineSpec
from kev.user_files import STANDARD_INPUT, read_user_file
from kev.user_json import parse_user_json
from kev.work.base import Place
from kev.work.here import Here
from kev.work.processes import Processes
from kev.work.results import as_ended
from kev.work.stopping import check, watched

if TYPE_CHECKING:
    from kev.machine.machine import Machine

LARGEST_FILE: Final = 16 * MIB
"""Of descriptions, in bytes."""
MOST_OUTPUT: Final = MIB
"""Bytes that a machine may print, unless its description says how many."""
SUFFIXES: Final = (".toml", ".json", ".jsonl")
"""Of files with descriptions."""
_CUT_SHORT: Final = (EndingKind.INTERRUPTED, EndingKind.STOPPED)
_MACHINES: Final = "machine"
_LOOK_EVERY: Final = 0.05  # seconds


class BatchMachine(NamedTuple):
    """One machine of a batch."""

    name: str
    spec: MachineSpec
    exit_code: int = 0
    """What it ends with if all goes well."""


class BatchResult(NamedTuple):
    """What came of a machine."""

    name: str
    ok: bool
    """It has ended with the exit code that it should have."""
    expected: int
    """That exit code."""
    host: str = ""
    """Where it ran."""
    seconds: float = 0.0
    """From before its files were opened to its end."""
    report: dict[str, Any] | None = None
    """As `kev run --report` writes it; None if it could not be launched."""
    output: str = ""
    """What it printed."""
    error: str = ""
    """Why it could not be launched."""
    unchecked: tuple[str, ...] = ()
    """URLs that were read on another computer, where nobody could check that they hold what they hold here."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without what there is not."""
        fields = self._asdict()
        return {name: value for name, value in fields.items() if name in ("name", "ok", "expected") or value not in (None, "", ())}


def read_batch(name: str) -> list[BatchMachine]:
    """The machines of which a file has descriptions, or the one whose image `name` is.

    In TOML (`.toml`) the file is one description, as for `kev run --spec`, or has a table `[[machine]]` for each, and above the
    first what all of them have in common. In JSON (`.json`) it is the same, or a list of descriptions; in JSON Lines (`.jsonl`) one
    on each line. A description has the fields of `kev.MachineSpec`, and may have a `name` and the expected `exit_code`: without it,
    what the guest's own description says, or else 0. Relative names of files are relative to its folder. Standard input, `-`, has
    JSON Lines. SpecError, also if there is no machine.
    """
    suffix = ".jsonl" if name == STANDARD_INPUT else os.path.splitext(name)[1]
    if suffix not in SUFFIXES:
        return [_machine(name, {"image": name}, name, "")]
    try:
        text = read_user_file(name, LARGEST_FILE, SpecError, waits=name == STANDARD_INPUT).decode()
        tables = list(_READERS[suffix](text, name))
    except UnicodeDecodeError as error:
        raise SpecError(f"{name}: is not in UTF-8: {error.reason} at byte {error.start}") from None
    if not tables:
        raise SpecError(f"{name}: describes no machine")
    stem = os.path.splitext(os.path.basename(name))[0]
    return [
        _machine(stem if len(tables) == 1 else f"{stem}[{index}]", table, f"{name}: machine {index}", os.path.dirname(name))
        for index, table in enumerate(tables)
    ]


def launch_all(machines: Sequence[BatchMachine], place: Place) -> Iterator[BatchResult]:
    """Launches all machines at `place`, and yields what comes of each as it ends.

    A machine that cannot be launched is a result with an `error`. Whoever stops asking ends those that run. On other computers a
    disk that a guest writes has to be an `overlay`. Stopped, WorkError.
    """
    if isinstance(place, Here):
        place = Processes(1)  # what ends a process must not end the batch
    away = not isinstance(place, Processes)
    tasks = []
    for machine in machines:
        try:
            tasks.append(_task(machine, away=away))
        except KevError as error:
            yield BatchResult(machine.name, False, machine.exit_code, error=str(error))
    for _, result in as_ended(_launch, tasks, place):
        yield result


class _Task(NamedTuple):
    name: str
    expected: int
    wanted: ByPage
    image: str
    """What the image is called."""
    unchecked: tuple[str, ...]


def _task(machine: BatchMachine, *, away: bool) -> _Task:
    """KevError if a file is missing, or cannot be used on another computer."""
    spec = machine.spec
    urls: tuple[str, ...] = ()
    if spec.max_output is None:
        spec = spec.replace(max_output=MOST_OUTPUT)
    if away:
        if "://" in spec.image:
            urls = (spec.image,)
        for disk in spec.disks:
            if disk.writes:
                raise FleetError(f"disk {disk.path}: what is written on another computer would be lost: add ,overlay or ,ro")
        spec.with_files(_require, is_guest)
    return _Task(machine.name, machine.exit_code, ByPage(spec), spec.image, urls)


def _require(name: str) -> str:
    if not os.path.exists(name):
        raise FleetError(f"{name}: there is no such file")
    return name


def _launch(task: _Task) -> BatchResult:
    from kev.machine.api import launch

    began = time.perf_counter()
    result = BatchResult(task.name, False, task.expected, socket.gethostname(), unchecked=task.unchecked)
    try:
        with _Watch() as watch:
            report = launch(task.wanted.spec, at_start=watch.begin)
        check()
    except KevError as error:
        return result._replace(error=str(error), seconds=round(time.perf_counter() - began, 3))
    return result._replace(
        ok=report.exit_code == task.expected and report.ending.kind not in _CUT_SHORT,
        seconds=round(time.perf_counter() - began, 3),
        report={**report.as_dict(), "image": task.image},
        output=report.output.decode(errors="replace"),
    )


class _Watch:
    """Ends a machine when nobody wants it any more."""

    def __init__(self) -> None:
        self._is_over: Final = threading.Event()

    def __enter__(self) -> "_Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def begin(self, machine: "Machine") -> None:
        threading.Thread(target=self._watch, args=(machine, watched()), daemon=True).start()

    def _watch(self, machine: "Machine", is_unwanted: Callable[[], bool]) -> None:
        while not self._is_over.wait(_LOOK_EVERY):
            if is_unwanted():
                machine.end_soon(Ending.stopped())
                return


def _machine(name: str, table: Mapping[str, Any], where: str, folder: str) -> BatchMachine:
    fields = dict(table)
    own, exit_code = fields.pop("name", name), fields.pop("exit_code", None)
    if type(own) is not str or not own:
        raise SpecError(f"{where}: name: {own!r}: it must be a text")
    if exit_code is not None and (type(exit_code) is not int or not 0 <= exit_code <= 0xFF):
        raise SpecError(f"{where}: exit_code: {exit_code!r}: it must be 0 to 255")
    try:
        spec = MachineSpec.of(fields)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    if folder:
        spec = spec.in_folder(folder, is_guest)
    guest = guest_meant(spec.image)
    if exit_code is None:
        exit_code = 0 if guest is None or guest.exit_code is None else guest.exit_code
    return BatchMachine(own, spec, exit_code)


def _toml(text: str, name: str) -> Iterator[Mapping[str, Any]]:
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{name}: is not TOML: {error}") from None
    return _tables(data, name)


def _json(text: str, name: str) -> Iterator[Mapping[str, Any]]:
    data = parse_user_json(text, name, SpecError, "descriptions of machines", lambda _value, _where: None, typed=True)
    return _tables({_MACHINES: data} if isinstance(data, list) else data, name)


def _json_lines(text: str, name: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield from _json(line, f"{name}: line {number}")


_READERS: Final = {".toml": _toml, ".json": _json, ".jsonl": _json_lines}


def _tables(data: Any, name: str) -> Iterator[Mapping[str, Any]]:
    """The description that `data` is, or those that are in it, with what they have in common."""
    if not isinstance(data, dict):
        raise SpecError(f"{name}: it must be the description of a machine, or a list of them")
    if _MACHINES not in data:
        yield data
        return
    common = {key: value for key, value in data.items() if key != _MACHINES}
    tables = data[_MACHINES]
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SpecError(f"{name}: {_MACHINES}: it must be a list of descriptions")
    for table in tables:
        yield {**common, **table}
