"""The planes of a VGA: every way to read and write them, bit by bit as the technical reference says."""

from hypothesis import given
from hypothesis import strategies as st

from kev.dev.display.planes import PLANE_SIZE, Planes
from kev.dev.display.screen import GRAPHICS_MODE_3, SEQUENCER_MODE_3

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
