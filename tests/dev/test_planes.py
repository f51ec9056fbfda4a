"""The planes of a VGA: every way to read and write them, bit by bit as the technical reference says."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.dev.display.planes import PLANE_SIZE, Planes
from kev.dev.display.screen import GRAPHICS_MODE_3, SEQUENCER_MODE_3
from kev.engine.amdv import native
from kev.engine.amdv.native import Structure

PLANES, BITS = range(4), range(8)
Registers = tuple[bytes, bytes]

REGISTERS: st.SearchStrategy[Registers] = st.tuples(
    st.builds(lambda mask: bytes((3, 1, mask, 0, 6)), st.integers(0, 15)),
    st.tuples(
        *(st.integers(0, most) for most in (15, 15, 15, 31, 3)),
        st.sampled_from((0, 1, 2, 3, 8, 9, 10, 11)),
        st.just(5),
        st.integers(0, 15),
        st.sampled_from((0, 0xFF, 0x3C, 0x81)),
    ).map(bytes),
)
ACCESSES = st.lists(
    st.tuples(REGISTERS, st.sampled_from((0, 1, PLANE_SIZE - 1)), st.one_of(st.none(), st.integers(0, 0xFF))), max_size=30
)


class Bits:
    """The same, a bit at a time."""

    def __init__(self) -> None:
        self.memory = {(offset, plane): 0 for offset in (0, 1, PLANE_SIZE - 1) for plane in PLANES}
        self.latches = [0] * 4

    def read(self, registers: Registers, offset: int) -> int:
        _, graphics = registers
        self.latches = [self.memory[offset, plane] for plane in PLANES]
        if not graphics[5] & 8:
            return self.latches[graphics[4]]
        cared = [plane for plane in PLANES if graphics[7] >> plane & 1]
        return sum(1 << bit for bit in BITS if all(self.latches[plane] >> bit & 1 == graphics[2] >> plane & 1 for plane in cared))

    def write(self, registers: Registers, offset: int, value: int) -> None:
        sequencer, graphics = registers
        for plane in PLANES:
            if sequencer[2] >> plane & 1:
                self.memory[offset, plane] = sum(self.bit(graphics, plane, bit, value) << bit for bit in BITS)

    def bit(self, graphics: bytes, plane: int, bit: int, value: int) -> int:
        mode, latch, set_reset = graphics[5] & 3, self.latches[plane] >> bit & 1, graphics[0] >> plane & 1
        rotated = value >> (bit + (graphics[3] & 7)) % 8 & 1
        if mode == 1:
            return latch
        mask = graphics[8] >> bit & 1 & (rotated if mode == 3 else 1)
        if mode == 2:
            new = value >> plane & 1
        elif mode == 3 or graphics[1] >> plane & 1:
            new = set_reset
        else:
            new = rotated
        new = (new, new & latch, new | latch, new ^ latch)[graphics[3] >> 3]
        return new if mask else latch


class Native:
    """The same, as `native/planes.c` does it for the emulated CPU."""

    def __init__(self, library: ctypes.CDLL, planes: Planes) -> None:
        planes.show(True)
        self.window = Structure(5)
        self.window.words[0] = planes.address
        self._load, self._store = library.kev_load_planes, library.kev_store_planes
        self._load.restype = ctypes.c_uint64

    def read(self, offset: int, size: int = 1) -> int:
        return int(self._load(None, ctypes.c_uint64(offset), size, ctypes.c_void_p(self.window.address)))

    def write(self, offset: int, value: int, size: int = 1) -> None:
        self._store(None, ctypes.c_uint64(offset), size, ctypes.c_uint64(value), ctypes.c_void_p(self.window.address))


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    found = native.library("planes", 1)
    if found is None:
        pytest.skip("native/planes.c is not compiled for this host")
    return found


@given(ACCESSES, st.booleans())
def test_native_accesses_do_the_same(library: ctypes.CDLL, accesses: list[tuple[Registers, int, int | None]], text: bool) -> None:
    planes, others = Planes(), Planes()
    natively = Native(library, others)
    for (sequencer, graphics), offset, value in accesses:
        registers = (SEQUENCER_MODE_3, GRAPHICS_MODE_3) if text and offset else (sequencer, graphics)
        planes.follow(*registers)
        others.follow(*registers)
        if value is None:
            assert natively.read(offset) == planes.read(offset)
        else:
            planes.write(offset, value)
            natively.write(offset, value)
        assert others.latches == planes.latches
    assert others.contents == planes.contents


def test_native_accesses_of_several_bytes_begin_with_the_lowest(library: ctypes.CDLL) -> None:
    planes = Planes()
    planes.follow(bytes((3, 1, 4, 0, 6)), bytes((0, 0, 0, 0, 2, 0, 5, 15, 0xFF)))
    natively = Native(library, planes)
    natively.write(0x100, 0x1122_3344_5566_7788, 8)
    assert [planes.read(0x100 + place) for place in range(8)] == [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]
    assert natively.read(0x102, 4) == 0x3344_5566
    assert planes.latches == 0x33 << 16
    assert natively.window.words.tolist()[3:] == [1, 1], "a load and a store"


@given(ACCESSES)
def test_every_access_does_to_each_bit_what_the_registers_say(accesses: list[tuple[Registers, int, int | None]]) -> None:
    planes, bits = Planes(), Bits()
    for registers, offset, value in accesses:
        planes.follow(*registers)
        if value is None:
            assert planes.read(offset) == bits.read(registers, offset)
        else:
            planes.write(offset, value)
            bits.write(registers, offset, value)
    for (offset, plane), byte in bits.memory.items():
        assert planes.contents[4 * offset + plane] == byte
    assert planes.latches.to_bytes(4, "little") == bytes(bits.latches)


def test_odd_and_even_addresses_are_in_planes_of_their_own_where_text_is() -> None:
    planes = Planes()
    planes.follow(SEQUENCER_MODE_3, GRAPHICS_MODE_3)
    for offset in range(4):
        planes.write(offset, 0x10 + offset)
    assert bytes(planes.contents[:8]) == bytes((0x10, 0x11, 0, 0, 0x12, 0x13, 0, 0))
    assert [planes.read(offset) for offset in range(4)] == [0x10, 0x11, 0x12, 0x13]
