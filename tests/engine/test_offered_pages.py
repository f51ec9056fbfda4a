"""Pages of zeros that the engine makes Present by itself: it does what the machine would have done, and tells how often."""

import struct
from collections.abc import Iterator

import pytest

import kev
from kev.addressing import PAGE_SIZE, Gpa
from kev.engine.amdv.shortcuts import NATIVE
from kev.engine.base import Budget
from kev.exits import Access, EptViolation, Vmcall
from kev.pager.pages import PageState
from tests.machine.code import VMCALL, code
from tests.machine.cpu import CODE, Cpu

SLAB = 512
OFFERED = range(0x30, 0x50)
DATA = 0x30000

pytestmark = pytest.mark.skipif(NATIVE is None, reason="nothing is compiled for this host")


class Offer:
    """The first 2 MiB of a CPU's memory, of which pages are offered."""

    def __init__(self, text: bytes) -> None:
        self.cpu = Cpu(text + VMCALL, [(DATA, VMCALL)])
        self.exits: dict[type, int] = {}
        self.cpu.engine.take_shortcuts(self.exits)
        self.frames = self.cpu.memory.allocate(SLAB, SLAB)
        self.states = bytearray(SLAB)
        self.cpu.engine.offer_zeros(Gpa(0), self.frames, OFFERED, self.states)

    def told(self) -> list[int]:
        """The pages of data that violations were told of."""
        pages = [exit.gpa >> 12 for exit in self.cpu.told(EptViolation) if isinstance(exit, EptViolation)]
        return [page for page in pages if page >= 0x20]

    def present(self) -> list[int]:
        return [page for page in range(SLAB) if self.states[page] == PageState.PRESENT]


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
    assert offer.cpu.engine.zeros_filled() == 3
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
    assert offer.cpu.engine.zeros_filled() == 1


def test_fetches_are_asked_for(offers: list[Offer]) -> None:
    offers.append(offer := Offer(b"\xe9" + struct.pack("<i", DATA - CODE - 5)))  # jmp DATA
    assert offer.cpu.run() == Vmcall()
    assert EptViolation(Gpa(DATA), Access.EXECUTE) in offer.cpu.exits
    assert offer.present() == []


def test_counted_slices_and_whoever_withdraws_are_told_everything(offers: list[Offer]) -> None:
    text = load(0x30) + VMCALL + load(0x31) + VMCALL + load(0x32)
    offers.append(offer := Offer(text))
    cpu = offer.cpu
    assert cpu.run(1000) == Vmcall()
    assert offer.told() == [0x30]
    cpu.vcpu.rip += len(VMCALL)
    assert cpu.run() == Vmcall()
    assert (offer.told(), offer.present()) == ([0x30], [0x31])
    cpu.engine.withdraw_zeros()
    cpu.vcpu.rip += len(VMCALL)
    assert cpu.run() == Vmcall()
    assert (offer.told(), cpu.engine.zeros_filled()) == ([0x30, 0x32], 1)


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
