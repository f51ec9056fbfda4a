"""Core files, as gdb, kev and other readers of ELF files see them."""

import io
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

import kev
from kev.addressing import MIB, PAGE_SIZE, Gpa, Gva
from kev.engine.registers import FpuState
from kev.errors import KevError
from kev.machine.errors import MachineError
from kev.machine.machine import Machine
from kev.pager.image import Segment
from kev.pager.pages import PageState
from kev.pager.source import AsynchronousSource, FileSource
from kev.postmortem.address_space import Mapping
from kev.postmortem.core import PN_XNUM, CoreError, CoreVcpu, write_core
from kev.postmortem.core_file import read_core
from kev.postmortem.core_layout import PHYSICAL_WINDOW, physical_runs, placed
from kev.postmortem.core_notes import fxsave
from tests.examples import examples
from tests.guests.images import read_file
from tests.page_tables.guest_memory import LARGE, RW
from tests.pager.machine import DATA, FILE, TEXT
from tests.pager.sources import BytesSource
from tests.postmortem.guest_memory import pager_with, vcpu, words

gdb = pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
PML4, PDPT, PD = 0x2000, 0x3000, 0x4000
PAGING = {PML4: words(PDPT | RW), PDPT: words(PD | RW), PD: words(LARGE | RW)}
CR0 = 1 << 31 | 1


def dumped(folder: Path, name: str, command_line: str = "", vcpus: int | None = None) -> Path:
    """The core file of a guest at its end, beside its image."""
    core = folder / "core"
    (folder / name).write_bytes(read_file(name))
    kev.launch(name, command_line=command_line, at_end=lambda machine: machine.dump(core), vcpus=vcpus)
    return core


def ask_gdb(folder: Path, name: str, *commands: str) -> str:
    arguments = [argument for command in commands for argument in ("-ex", command)]
    command = ["gdb", "-q", "-nx", "-batch", *arguments, str(folder / name), str(folder / "core")]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"HOME": str(folder)}).stdout


@gdb
@pytest.mark.parametrize("name", ["crash", "crash32"])
def test_gdb_shows_who_called_whom(name: str, tmp_path: Path) -> None:
    dumped(tmp_path, name)
    lines = [line for line in ask_gdb(tmp_path, name, "bt").splitlines() if line.startswith("#")]
    # The first frame is also shown when the file is opened.
    functions = [line.partition(" (")[0].split()[-1] for line in lines[-5:]]
    assert functions == ["store", "die", "descend", "descend", "main"]


@gdb
@pytest.mark.parametrize("name", ["crash", "crash32"])
def test_gdb_reads_variables_that_were_changed_and_some_that_were_never_touched(name: str, tmp_path: Path) -> None:
    dumped(tmp_path, name)
    answer = ask_gdb(tmp_path, name, "x/s &last_words", "print countdown", "print/x never_touched[0]")
    assert '"so long"' in answer
    assert "$1 = 1" in answer
    assert "$2 = 0x5eed" in answer


@gdb
def test_gdb_shows_vcpus_as_threads(tmp_path: Path) -> None:
    dumped(tmp_path, "boot-race")
    threads = [line for line in ask_gdb(tmp_path, "boot-race", "info threads").splitlines() if re.match(r"[* ] \d+ ", line)]
    assert len(threads) == 2
    assert "hypercall" in threads[0] or "finish" in threads[0]
    assert "halt_forever" in threads[1] or "processor_entry" in threads[1]


@gdb
def test_gdb_reads_a_kernel_at_its_virtual_addresses_and_physical_memory_beside_it(tmp_path: Path) -> None:
    dumped(tmp_path, "gKeOS")
    answer = ask_gdb(tmp_path, "gKeOS", "bt", f"x/1xw {PHYSICAL_WINDOW + MIB + 0x18:#x}", "info registers cs")
    assert "in main ()" in answer
    assert f"{PHYSICAL_WINDOW + MIB + 0x18:#x}" in answer
    assert "0x8" in answer


def test_a_core_file_has_the_registers_and_how_it_ended(tmp_path: Path) -> None:
    with FileSource(dumped(tmp_path, "crash")) as source:
        core = read_core(source)
    assert (core.bits, core.threads) == (64, 1)
    assert core.own is not None
    assert "triple fault that began with exception 14" in core.own["ending"]
    assert core.own["image"]["name"] == "crash"
    (found,) = core.own["vcpus"]
    assert found["cr2"] == 0x7FFF_FFFF_F000
    assert "inlined in die+0x" in found["place"]
    assert "vCPU 0: active in store" in core.as_text()


def test_a_vcpu_that_has_not_run_has_no_registers(tmp_path: Path) -> None:
    with FileSource(dumped(tmp_path, "crash", vcpus=3)) as source:
        core = read_core(source)
    assert core.threads == 1
    assert core.own is not None
    assert [sorted(found) for found in core.own["vcpus"][1:]] == [["activity", "place", "vcpu"]] * 2


def test_other_readers_find_the_notes_and_the_memory(tmp_path: Path) -> None:
    core = dumped(tmp_path, "crash")
    elf = ELFFile(io.BytesIO(core.read_bytes()))
    assert (elf["e_type"], elf["e_machine"]) == ("ET_CORE", "EM_X86_64")
    notes = [note["n_name"] for segment in elf.iter_segments("PT_NOTE") for note in segment.iter_notes()]
    assert notes == ["CORE", "CORE", "kev"]
    (text,) = [segment for segment in elf.iter_segments("PT_LOAD") if segment["p_vaddr"] == MIB]
    image = ELFFile(io.BytesIO(read_file("crash")))
    first = next(image.iter_segments("PT_LOAD"))
    assert text.data()[:0x1000] == first.data()[:0x1000]


def test_a_dump_changes_nothing_of_the_guest(tmp_path: Path) -> None:
    def dump(machine: Machine) -> None:
        pager = machine.vm.pager
        loads, runs = pager.statistics.loads, list(pager.pages.runs(PageState.PRESENT))
        machine.dump(tmp_path / "core")
        assert (pager.statistics.loads, list(pager.pages.runs(PageState.PRESENT))) == (loads, runs)
        looked_at.append(machine)

    looked_at: list[Machine] = []
    kev.launch("gKeOS", at_end=dump)
    assert looked_at


def test_pages_of_zeros_take_no_room(tmp_path: Path) -> None:
    core = dumped(tmp_path, "boot-race")
    assert core.stat().st_blocks * 512 < core.stat().st_size


def test_a_running_machine_can_be_dumped(tmp_path: Path) -> None:
    with kev.start("echo") as machine:
        machine.expect("echo> ")
        machine.dump(tmp_path / "core")
    with FileSource(tmp_path / "core") as source:
        core = read_core(source)
    assert core.own is not None
    assert core.own["ending"] == "still running"
    with pytest.raises(MachineError, match="the machine is closed"):
        machine.dump(tmp_path / "core")


def write(file: Path, **pager: object) -> None:
    built = pager_with(PAGING, **pager)
    registers = vcpu(cr0=CR0, cr3=PML4, cr4=1 << 5)
    write_core(file, built, [CoreVcpu(registers=registers, activity="active")], ending="tested")


def test_the_image_is_read_where_the_guest_has_not_touched_it(tmp_path: Path) -> None:
    write(tmp_path / "core")
    elf = ELFFile(io.BytesIO((tmp_path / "core").read_bytes()))
    found = {segment["p_paddr"]: segment.data() for segment in elf.iter_segments("PT_LOAD")}
    assert found[TEXT.paddr][: TEXT.filesz] == FILE[: TEXT.filesz]
    assert found[TEXT.paddr][DATA.paddr - TEXT.paddr :][: DATA.filesz] == FILE[DATA.offset : DATA.offset + DATA.filesz]


def test_what_would_have_to_be_awaited_is_left_out(tmp_path: Path) -> None:
    class Slow(AsynchronousSource):
        def read_into(self, offset: int, buffer: memoryview, /) -> int:
            raise AssertionError("nobody may wait for this")

    pager = pager_with(PAGING)
    pager.load_phdr(Segment(Gpa(2 * MIB), Gva(2 * MIB), 0, PAGE_SIZE, PAGE_SIZE), Slow(BytesSource(FILE)))
    assert not any(2 * MIB in run for run in physical_runs(pager))


def test_a_source_that_fails_costs_its_pages(tmp_path: Path) -> None:
    source = BytesSource(FILE)
    pager = pager_with(PAGING, source=source)
    source.data = b""
    write_core(tmp_path / "core", pager, [CoreVcpu(registers=vcpu(), activity="active")], ending="tested")
    with FileSource(tmp_path / "core") as opened:
        core = read_core(opened)
    assert core.own is not None
    assert core.own["unreadable_pages"] == 4


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: os.mkfifo(path)])
def test_what_is_no_regular_file_is_not_replaced(make: object, tmp_path: Path) -> None:
    target = tmp_path / "core"
    make(target)  # type: ignore[operator]
    with pytest.raises(CoreError, match=r"core: is no regular file"):
        write(target)
    assert not target.is_file()


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "old").stat().st_size > 0


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CoreError, match=r"core: cannot be written: No such file or directory"):
        write(tmp_path / "nowhere" / "core")


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.replace", _refuse)
    with pytest.raises(CoreError, match="no space"):
        write(tmp_path / "core")
    assert list(tmp_path.iterdir()) == []


def _refuse(*_: object) -> None:
    raise OSError(28, "no space")


def test_more_segments_than_the_header_can_count(tmp_path: Path) -> None:
    """Every other page of 2 x 64 Ki is mapped, each by an entry of its own."""
    tables = 128
    table_base = 1 * MIB + 64 * PAGE_SIZE
    contents = {PML4: words(PDPT | RW), PDPT: words(PD | RW)}
    contents[PD] = words(*(table_base + PAGE_SIZE * number | RW for number in range(tables)))
    for number in range(tables):
        contents[table_base + PAGE_SIZE * number] = words(*(0x5000 + PAGE_SIZE * (index & 1) * 2 | RW for index in range(512)))
    contents[0x5000] = b"even"
    contents[0x7000] = b"odd"
    pager = pager_with(contents)
    registers = vcpu(cr0=CR0, cr3=PML4, cr4=1 << 5)
    write_core(tmp_path / "core", pager, [CoreVcpu(registers=registers, activity="active")], ending="tested")
    with FileSource(tmp_path / "core") as source:
        core = read_core(source)
    assert len(core.segments) >= PN_XNUM
    at = {segment.linear: segment for segment in core.segments}
    data = (tmp_path / "core").read_bytes()
    assert data[at[0].offset :][:4] == b"even"
    assert data[at[0x1000].offset :][:3] == b"odd"


@given(pages=st.lists(st.tuples(st.integers(0, 511), st.integers(0, 40)), max_size=20), high=st.booleans())
def test_every_address_is_told_once_and_as_the_first_tables_that_map_it_say(pages: list[tuple[int, int]], high: bool) -> None:
    table = 0x5000
    contents = {PML4: words(PDPT | RW), PDPT: words(PD | RW), PD: words(table | RW), table: bytes(PAGE_SIZE)}
    pager = pager_with(contents)
    hpa = pager.gpa2hpa(Gpa(table))
    assert hpa is not None
    for index, page in pages:
        pager.memory.view[hpa + 8 * index : hpa + 8 * index + 8] = words(page * PAGE_SIZE | RW)
    registers = vcpu(cr0=CR0, cr3=PML4, cr4=1 << 5)
    other = vcpu(cr0=1)
    runs = physical_runs(pager)
    found = placed(pager, [registers, other] if high else [registers], runs, wide=True)
    assert found == sorted(found)
    assert all(one.end <= two.linear for one, two in pairwise(found))
    mapped = dict(pages)
    for index, page in mapped.items():
        linear, gpa = index * PAGE_SIZE, page * PAGE_SIZE
        if any(gpa in run for run in runs):
            assert [at.gpa + linear - at.linear for at in found if at.linear <= linear < at.end] == [gpa]
    window = [at for at in found if at.linear >= PHYSICAL_WINDOW]
    assert window == [Mapping(PHYSICAL_WINDOW + run.start, run.start, run.stop - run.start) for run in runs]


def test_the_registers_of_the_fpu_are_as_fxsave_stores_them() -> None:
    state = FpuState(fcw=0x37F, fsw=0x3800, ftw=0x3FFF, st=(b"\1" * 10, *((bytes(10),) * 7)), xmm=(5, *((0,) * 15)), mxcsr=0x1F80)
    stored = fxsave(state)
    assert len(stored) == 512
    assert stored[:5] == bytes((0x7F, 0x03, 0x00, 0x38, 0x80))
    assert stored[24:28] == bytes((0x80, 0x1F, 0, 0))
    assert stored[32:43] == b"\1" * 10 + b"\0"
    assert stored[160] == 5


@cache
def small_core() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "core")
        return (Path(folder) / "core").read_bytes()


@settings(max_examples=examples(200))
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=6), cut=st.integers(0, 1 << 20))
def test_a_damaged_core_file_is_refused_or_described(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(small_core())
    ends = [*range(400), *range(len(data) - 2000, len(data))]
    for at, byte in changes:
        data[ends[at % len(ends)]] = byte
    try:
        core = read_core(BytesSource(bytes(data[: len(data) - cut % 4000])))
    except KevError:
        return
    assert core.as_text()
    assert core.as_dict()["core"] == "kernel"


def test_an_image_is_no_core_file() -> None:
    with pytest.raises(CoreError, match="crash: is no ELF core file"):
        read_core(BytesSource(read_file("crash"), "crash"))
