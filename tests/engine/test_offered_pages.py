"""Pages that the engine makes Present by itself: it does what the machine would have done, and tells how often."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import kev
from kev.addressing import PAGE_SIZE, Gpa
from kev.engine.amdv.shortcuts import NATIVE
from kev.engine.base import Budget
from kev.exits import EptViolation, Vmcall
from kev.pager.pages import PageState
from kev.pager.protocols import AlikePages
from kev.pager.source import UNWATCHED, FileSource
from tests.machine.code import VMCALL, code
from tests.machine.cpu import CODE, Cpu

SLAB = 512
OFFERED = range(0x30, 0x50)
DATA = 0x30000
OF_FILE = range(0x60, 0x64)
SKIPPED = 0x123
"""Bytes of a file before what is offered."""
FILE = bytes(index * 7 + index // 256 & 0xFF for index in range(SKIPPED + 3 * PAGE_SIZE + 1))
"""The last page of OF_FILE is not whole."""

pytestmark = pytest.mark.skipif(NATIVE is None, reason="nothing is compiled for this host")


class Offer:
    """The first 2 MiB of a CPU's memory, of which pages are offered."""

    def __init__(self, text: bytes, pages: Sequence[AlikePages] = (AlikePages(OFFERED),)) -> None:
        self.cpu = Cpu(text + VMCALL, [(DATA, VMCALL)])
        self.exits: dict[type, int] = {}
        self.cpu.engine.take_shortcuts(self.exits)
        self.frames = self.cpu.memory.allocate(SLAB, SLAB)
        self.states = bytearray(SLAB)
        self.cpu.engine.offer_pages(Gpa(0), self.frames, pages, self.states)

    def told(self) -> list[int]:
        """The pages of data that violations were told of."""
        pages = [exit.gpa >> 12 for exit in self.cpu.told(EptViolation) if isinstance(exit, EptViolation)]
        return [page for page in pages if page >= 0x20]

    def present(self) -> list[int]:
        return [page for page in range(SLAB) if self.states[page] == PageState.PRESENT]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[FileSource]:
    """A file in which no change has to be looked for."""
    (tmp_path / "file").write_bytes(FILE)
    with FileSource(tmp_path / "file", watched=False) as opened:
        yield opened


def of_file(source: FileSource) -> Sequence[AlikePages]:
    file, begin = source.place
    return AlikePages(OFFERED), AlikePages(OF_FILE, file, begin + SKIPPED)


@pytest.fixture
def offers() -> Iterator[list[Offer]]:
    made: list[Offer] = []
    yield made
    for offer in made:
        with offer.cpu:
            pass


def store(page: int, value: int) -> bytes:
    return b"\xc6\x05" + struct.pack("<IB", page << 12, value)  # mov byte [page], value


def load(page: int) -> bytes:
    return b"\xa1" + struct.pack("<I", page << 12)  # mov eax, [page]


def test_what_is_touched_is_present_and_holds_zeros_and_what_was_stored(offers: list[Offer]) -> None:
    offers.append(offer := Offer(store(0x30, 7) + load(0x31) + store(0x4F, 9)))
    assert offer.cpu.run() == Vmcall()
    assert offer.cpu.vcpu.rax == 0
    assert (offer.told(), offer.present()) == ([], [0x30, 0x31, 0x4F])
    assert [offer.cpu.table.translate(page << 12) for page in offer.present()] == [
        offer.frames + page * PAGE_SIZE for page in offer.present()
    ]
    assert offer.cpu.read(DATA, 1) == 7
    assert offer.cpu.engine.pages_filled() == 3
    told = len(offer.cpu.told(EptViolation))
    offer.cpu.engine.count_shortcuts()
    offer.cpu.engine.count_shortcuts()
    assert offer.exits.get(EptViolation) == 3
    assert len(offer.cpu.told(EptViolation)) == told


def test_a_string_that_crosses_offered_pages_is_stored_whole(offers: list[Offer]) -> None:
    text = code("bf 00 08 03 00 b9 00 08 00 00 b8 04 03 02 01 f3 ab ; mov edi, 0x30800; mov ecx, 2048; mov eax, ...; rep stosd")
    offers.append(offer := Offer(text))
    assert offer.cpu.run() == Vmcall()
    assert (offer.cpu.vcpu.rcx, offer.cpu.vcpu.rdi) == (0, 0x32800)
    assert offer.present() == [0x30, 0x31, 0x32]
    found = b"".join(bytes(offer.cpu.page(page << 12)) for page in offer.present())
    assert found == bytes(0x800) + struct.pack("<I", 0x01020304) * 2048 + bytes(0x800)


@pytest.mark.parametrize("state", [PageState.LOADING, PageState.PRESENT])
def test_pages_in_another_state_and_those_beside_are_asked_for(state: PageState, offers: list[Offer]) -> None:
    offers.append(offer := Offer(load(0x2F) + load(0x30) + load(0x31) + load(0x50)))
    offer.states[0x30] = state
    assert offer.cpu.run() == Vmcall()
    assert offer.told() == [0x2F, 0x30, 0x50]
    assert offer.cpu.engine.pages_filled() == 1


def test_pages_of_a_file_hold_what_the_pager_would_have_read(source: FileSource, offers: list[Offer]) -> None:
    offers.append(offer := Offer(store(0x61, 7) + load(0x30) + load(0x60), of_file(source)))
    assert offer.cpu.run() == Vmcall()
    assert (offer.told(), offer.present()) == ([], [0x30, 0x60, 0x61])
    assert offer.cpu.vcpu.rax == int.from_bytes(FILE[SKIPPED : SKIPPED + 4], "little")
    wanted = bytearray(2 * PAGE_SIZE)
    source.read_into(SKIPPED, memoryview(wanted))
    wanted[PAGE_SIZE] = 7
    assert bytes(offer.cpu.page(0x60000)) + bytes(offer.cpu.page(0x61000)) == wanted
    assert offer.cpu.engine.pages_filled() == 3


def test_pages_that_a_file_does_not_fill_are_asked_for_and_stay_absent(source: FileSource, offers: list[Offer]) -> None:
    offers.append(offer := Offer(load(0x62) + load(0x63) + load(0x64), of_file(source)))
    assert offer.cpu.run() == Vmcall()
    assert (offer.told(), offer.present()) == ([0x63, 0x64], [0x62])
    assert offer.states[0x63] == PageState.ABSENT


def test_once_a_file_is_closed_its_pages_are_asked_for(source: FileSource, offers: list[Offer]) -> None:
    offers.append(offer := Offer(load(0x60) + VMCALL + load(0x61), of_file(source)))
    assert offer.cpu.run() == Vmcall()
    source.close()
    offer.cpu.vcpu.rip += len(VMCALL)
    assert offer.cpu.run() == Vmcall()
    assert (offer.told(), offer.present()) == ([0x61], [0x60])


def test_when_a_look_for_changes_of_a_file_is_due_its_pages_are_asked_for(source: FileSource, offers: list[Offer]) -> None:
    file, _ = source.place
    file[1] = 0
    offers.append(offer := Offer(load(0x60) + VMCALL + load(0x61), of_file(source)))
    assert offer.cpu.run() == Vmcall()
    file[1] = UNWATCHED
    offer.cpu.vcpu.rip += len(VMCALL)
    assert offer.cpu.run() == Vmcall()
    assert (offer.told(), offer.present()) == ([0x60], [0x61])


def test_code_is_executed_from_pages_of_a_file_and_anew_when_it_was_overwritten(tmp_path: Path, offers: list[Offer]) -> None:
    # inc eax; ret, which the guest makes dec eax; ret.
    (tmp_path / "code").write_bytes(b"\x40\xc3".ljust(PAGE_SIZE, b"\x90"))
    with FileSource(tmp_path / "code", watched=False) as source:
        file, begin = source.place
        text = b"\xb8" + struct.pack("<I", 7)  # mov eax, 7
        for addition in (b"", b"", store(0x60, 0x48)):
            text += addition
            text += b"\xe8" + struct.pack("<i", 0x60000 - CODE - len(text) - 5)  # call
        offers.append(offer := Offer(text, [AlikePages(OF_FILE, file, begin)]))
        assert offer.cpu.run() == Vmcall()
    assert (offer.told(), offer.present()) == ([], [0x60])
    assert offer.cpu.vcpu.rax == 8


def test_zeros_are_fetched_where_they_are_offered(offers: list[Offer]) -> None:
    text = b"\xb8" + struct.pack("<I", 0x40000)  # mov eax, ...: zeros are add [eax], al
    text += b"\xe9" + struct.pack("<i", 0x30000 - CODE - len(text) - 5)  # jmp
    offers.append(offer := Offer(text))
    assert isinstance(offer.cpu.run(), EptViolation)  # behind all memory
    assert (offer.told()[0], offer.present()) == (OFFERED.stop, [*OFFERED])


def test_counted_slices_and_whoever_withdraws_are_told_everything(offers: list[Offer]) -> None:
    text = load(0x30) + VMCALL + load(0x31) + VMCALL + load(0x32)
    offers.append(offer := Offer(text))
    cpu = offer.cpu
    assert cpu.run(1000) == Vmcall()
    assert offer.told() == [0x30]
    cpu.vcpu.rip += len(VMCALL)
    assert cpu.run() == Vmcall()
    assert (offer.told(), offer.present()) == ([0x30], [0x31])
    cpu.engine.withdraw_pages()
    cpu.vcpu.rip += len(VMCALL)
    assert cpu.run() == Vmcall()
    assert (offer.told(), cpu.engine.pages_filled()) == ([0x30, 0x32], 1)


def test_whoever_observes_exits_is_told_everything(offers: list[Offer]) -> None:
    offers.append(offer := Offer(load(0x30) + VMCALL + load(0x31)))
    assert offer.cpu.run() == Vmcall()
    offer.cpu.engine.take_shortcuts(None)
    assert offer.exits.get(EptViolation) == 1
    offer.cpu.vcpu.rip += len(VMCALL)
    assert offer.cpu.run_slice(Budget(seconds=3)) == Vmcall()
    assert (offer.told(), offer.present()) == ([0x31], [0x30])


def test_a_guest_loads_the_same_pages_whether_somebody_looks_on_or_not() -> None:
    alone, seeded = kev.launch("touch"), kev.launch("touch", seed=1)
    assert alone.pages_loaded == seeded.pages_loaded
    assert alone.exits["EptViolation"] == seeded.exits["EptViolation"]
