"""What is fuzzed: each parser, with files to begin from, which are made here."""

import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from zlib import crc32

from hypothesis import strategies as st

import kev
from kev.addressing import PAGE_SIZE, page_ceil
from kev.boot.inspection import inspect
from kev.errors import KevError
from kev.fs.disk import Disk
from kev.fs.josfs import JosFs
from kev.fs.josfs_mkfs import create_josfs_image
from kev.fs.mkfs import create_image
from kev.fs.simplefs import SimpleFs
from kev.guests.images import open_root_file_system
from kev.measure.result import BenchResult
from kev.observe.html_report.page import page
from kev.observe.html_report.runs import RunFileError
from kev.observe.html_report.shape import REPORT
from kev.page_tables.audit import audit
from kev.page_tables.identity import WholeMachine
from kev.page_tables.memory_map import Region, parse_memory_map
from kev.page_tables.steps import walk
from kev.page_tables.table_file import Ept, check_tree, parse_table, table_bytes
from kev.pager.image import KernelImage
from kev.pager.sections import sections
from kev.pager.working_set import FORMAT, WorkingSet
from kev.postmortem.core_file import is_core, read_core
from kev.postmortem.places import Places
from kev.snapshot.layout import Header, Section, sealed
from kev.spec.machine_spec import MachineSpec
from kev.user_json import parse_user_json
from tests.cli.programs import kernel
from tests.fuzz.mutations import mutated, mutated_text
from tests.pager.sources import BytesSource

_MEMORY = 1 << 28


class Target(NamedTuple):
    """A parser, or several that read the same files."""

    name: str
    seeds: Callable[[], Sequence[bytes]]
    """Files that are well-formed."""
    parse: Callable[[bytes], object]
    """KevError for what is not."""
    modules: tuple[str, ...]
    """Whose lines are counted."""
    is_text: bool = False
    head: int = 512
    """Where most of the changes are, of files that are no text."""

    def inputs(self) -> st.SearchStrategy[bytes]:
        return mutated_text(self.seeds()) if self.is_text else mutated(self.seeds(), self.head)

    def check(self, data: bytes) -> KevError | None:
        """What `data` is refused with. Whatever else is raised is a bug."""
        refusal = self._refusal(data)
        assert refusal is None or str(refusal).isprintable()
        return refusal

    def _refusal(self, data: bytes) -> KevError | None:
        try:
            self.parse(data)
        except KevError as error:
            return error
        return None


@cache
def _guests() -> tuple[bytes, ...]:
    """Kernels for every boot protocol, without what makes them large."""
    with open_root_file_system() as files:
        names = ("mb1info", "mb2info", "pvh", "bootsector", "hypercalls", "crash")
        images = [files.open(name).read() for name in names]
    return (kernel(b"\xf4"), *(image for image in images if len(image) < 1 << 18))


def _inspect(data: bytes) -> None:
    """Headers, as every protocol reads them."""
    inspection = inspect(BytesSource(data))
    if inspection.error is not None:
        raise inspection.error


def _prepare(data: bytes) -> None:
    """As far as a launch goes before the first instruction."""
    with kev.start(BytesSource(data), paused=True, memory=_MEMORY):
        pass


def _names(data: bytes) -> None:
    """Symbols, sections, and lines of places all over the image."""
    source = BytesSource(data)
    image = KernelImage.from_elf(source)
    places = Places(image)
    for segment in image.segments[:8]:
        for address in range(segment.vaddr, segment.vaddr + min(segment.memsz, 64), 16):
            places.at(address)
    sections(source)
    list(image.symbols)


def _simple_fs() -> Sequence[bytes]:
    image = io.BytesIO()
    create_image(image, "disk", {"a": io.BytesIO(b"first" * 200), "b": io.BytesIO(b""), "c": io.BytesIO(bytes(512))}, 8192)
    return (image.getvalue(),)


def _read_simple_fs(data: bytes) -> None:
    fs = SimpleFs(Disk(io.BytesIO(data), "disk"))
    for name in fs.files:
        fs.open(name).read()


def _josfs() -> Sequence[bytes]:
    image = io.BytesIO()
    create_josfs_image(image, "disk", {"a": io.BytesIO(b"first" * 9000), "sub/b": io.BytesIO(b"")}, 1 << 19)
    return (image.getvalue(),)


def _read_josfs(data: bytes) -> None:
    fs = JosFs(Disk(io.BytesIO(data), "disk"))
    for file in list(fs.walk()):
        if not file.is_directory:
            file.read_at(0, file.size)
    fs.put("new", io.BytesIO(b"second" * 9000))
    fs.remove("a")
    fs.flush()


@cache
def _snapshots() -> tuple[bytes, ...]:
    with TemporaryDirectory() as folder, kev.start("hypercalls", paused=True, vcpus=2, memory=1 << 21) as machine:
        file = Path(folder) / "snapshot"
        machine.snapshot(file)
        return (file.read_bytes(),)


def _restore(data: bytes) -> None:
    with kev.start(BytesSource(_with_checksums(data)), paused=True):
        pass


def _with_checksums(data: bytes) -> bytes:
    """What somebody has made on purpose: nothing that was changed is found by its checksum."""
    page = sealed(data[: PAGE_SIZE - 4])
    try:
        header = Header.parse(page, "snapshot", len(data))
    except KevError:
        return page + data[PAGE_SIZE:]
    sections = {name: _with_checksum(section, data) for name, section in header.sections.items()}
    return header._replace(sections=sections).pack() + data[PAGE_SIZE:]


def _with_checksum(section: Section, data: bytes) -> Section:
    return section._replace(checksum=crc32(data[section.offset : page_ceil(section.end)])) if section.checksum else section


@cache
def _reports() -> tuple[bytes, ...]:
    runs = [kev.launch("hypercalls", timeline=True), kev.launch("triple")]
    return tuple(json.dumps(run.as_dict()).encode() for run in runs)


def _read_report(data: bytes) -> None:
    page([parse_user_json(data, "run", RunFileError, "a report", REPORT)], ["run"])


def _working_sets() -> Sequence[bytes]:
    image = {"name": "kernel", "size": 5, "digest": "00"}
    return (json.dumps({"format": FORMAT, "image": image, "pages": [512, 7, 9]}).encode(),)


def _results() -> Sequence[bytes]:
    metrics = {"end_ms": {"median": 1.0, "low": 1.0, "high": 2.0, "values": [1.0, 1.5, 2.0]}}
    case = {"scenario": "image", "parameters": {"image": "1M"}, "metrics": metrics, "command": []}
    return (json.dumps({"format": "kev bench 1", "environment": {"kev": "1"}, "rounds": 3, "cases": [case]}).encode(),)


def _read_results(data: bytes) -> None:
    result = BenchResult.from_json(data, "results")
    assert all(case.name for case in result.cases)


def _specs() -> Sequence[bytes]:
    spec = MachineSpec("vmlinux", memory="1G", smp=2, modules=["m text"], disks=["d,ide,ro"], paging="around=4", timeout=2, seed=3)
    return (spec.to_toml().encode(), spec.to_json().encode())


def _read_spec(data: bytes) -> None:
    with suppress(UnicodeDecodeError):
        text = data.decode()
        with suppress(KevError):
            MachineSpec.from_json(text).to_toml()
        MachineSpec.from_toml(text).to_arguments()


@cache
def _tables() -> Sequence[bytes]:
    plan = WholeMachine(1 << 21, regions=(Region(0, 1 << 20),))
    return (table_bytes(Ept("machine", plan.build(), plan)),)


def _read_tables(data: bytes) -> None:
    ept = parse_table(data, "tables")
    audit(ept.table, ept.plan)
    walk(ept.table, 0x1000)
    check_tree(ept)
    ept.table.dump()


def _memory_maps() -> Sequence[bytes]:
    return (
        b"# a map\n0x0-0x9fbff usable\n0x100000-0xbffdffff ACPI data\n",
        b"[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable\n",
    )


@cache
def _cores() -> tuple[bytes, ...]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "core"
        with kev.start("triple") as machine:
            machine.wait()
            machine.dump(file)
        return (file.read_bytes()[: 1 << 16],)


def _read_core(data: bytes) -> None:
    source = BytesSource(data)
    if is_core(source):
        core = read_core(source)
        assert core.as_text()
        json.dumps(core.as_dict())


TARGETS = (
    Target("headers", _guests, _inspect, ("kev/boot/*", "pager/image.py")),
    Target("launch", _guests, _prepare, ("kev/boot/*", "pager/image.py", "pager/loaders.py")),
    Target("names", _guests, _names, ("pager/section_headers.py", "pager/symbols.py", "kev/postmortem/sections.py")),
    Target("simplefs", _simple_fs, _read_simple_fs, ("fs/simplefs.py", "fs/file.py")),
    Target("josfs", _josfs, _read_josfs, ("fs/josfs.py", "fs/josfs_format.py", "fs/block_cache.py"), head=4 * PAGE_SIZE),
    Target("snapshot", _snapshots, _restore, ("kev/snapshot/*", "kev/machine/snapshots.py", "kev/state.py"), head=4 * PAGE_SIZE),
    Target("report", _reports, _read_report, ("kev/user_json.py", "kev/observe/html_report/*"), is_text=True),
    Target("working-set", _working_sets, lambda data: WorkingSet.from_json(data, "set"), ("pager/working_set.py",), is_text=True),
    Target("results", _results, _read_results, ("kev/measure/result.py", "kev/user_json.py"), is_text=True),
    Target("spec", _specs, _read_spec, ("kev/spec/*",), is_text=True),
    Target("tables", _tables, _read_tables, ("kev/page_tables/table_file.py", "kev/page_tables/audit.py")),
    Target(
        "memory-map",
        _memory_maps,
        lambda data: parse_memory_map(data.decode("utf-8", "replace"), "map"),
        ("kev/page_tables/memory_map.py",),
        is_text=True,
    ),
    Target("core", _cores, _read_core, ("kev/postmortem/core_file.py", "kev/postmortem/core_notes.py")),
)
