"""The memory of a VGA and pictures of it, whatever a guest has written to its registers."""

from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import PAGE_SIZE
from kev.dev.base import MmioDevice, PageAbsent
from kev.dev.display.graphics_controller import GraphicsController
from kev.dev.display.picture import take_picture
from kev.dev.display.screen import GRAPHICS_MEMORY, MOST_ROWS, TEXT_MEMORY, VgaScreen
from kev.dev.display.sequencer import Sequencer
from kev.dev.display.video_memory import VideoMemory
from tests.dev.ram import Ram
from tests.pager.machine import build_pager


class Vga:
    """With guest memory, and what is in front of it."""

    def __init__(self, *, absent: bool = False) -> None:
        self.memory = Ram(absent=absent)
        self.in_front: MmioDevice | None = None
        self.screen = VgaScreen(build_pager())
        self.screen.make_video_memory = lambda: VideoMemory(self.screen, self.memory, self.put)
        self.sequencer, self.graphics = Sequencer(self.screen), GraphicsController(self.screen)

    def put(self, device: MmioDevice, in_front: bool) -> None:
        assert (self.in_front is None) is in_front
        self.in_front = device if in_front else None

    def program(self, device: Sequencer | GraphicsController, register: int, value: int) -> int:
        """Writes a register until all pages are there; says how often that was."""
        device.write_port(device.INDEX, 1, register)
        for times in range(100):
            before = device.read_port(device.INDEX + 1, 1)
            try:
                device.write_port(device.INDEX + 1, 1, value)
            except PageAbsent:
                assert device.read_port(device.INDEX + 1, 1) == before, "the access is repeated as if it had not been"
            else:
                return times
        raise AssertionError

    @property
    def video_memory(self) -> VideoMemory:
        found = self.screen.video_memory
        assert isinstance(found, VideoMemory)
        return found


CRT = st.lists(st.integers(0, 0xFF), min_size=25, max_size=25).map(bytes)
ATTRIBUTES = st.lists(st.integers(0, 0xFF), min_size=21, max_size=21).map(bytes)


@given(st.integers(0, 15), st.integers(0, 0xFF), st.integers(0, 15), st.integers(0, 0x3F), CRT, ATTRIBUTES)
def test_every_value_of_the_registers_makes_a_picture(
    memory_mode: int, mode: int, miscellaneous: int, fonts: int, crt: bytes, attributes: bytes
) -> None:
    vga = Vga()
    vga.program(vga.sequencer, 3, fonts)
    vga.program(vga.sequencer, 4, memory_mode)
    vga.program(vga.graphics, 5, mode)
    vga.program(vga.graphics, 6, miscellaneous)
    vga.screen.crt_controller, vga.screen.attribute_controller = crt, attributes
    picture = take_picture(vga.screen, None)
    assert len(picture.pixels) == 3 * picture.width * picture.height > 0
    assert 0 <= vga.screen.text.count("\n") < MOST_ROWS


def test_planes_take_the_place_of_memory_where_a_guest_looks_for_them() -> None:
    vga = Vga()
    for device, register, value, expected in (
        (vga.graphics, 6, 0x05, GRAPHICS_MEMORY),
        (vga.sequencer, 4, 0x0E, None),
        (vga.sequencer, 4, 0x06, GRAPHICS_MEMORY),
        (vga.graphics, 5, 0x00, GRAPHICS_MEMORY),
        (vga.graphics, 6, 0x0E, TEXT_MEMORY),
        (vga.sequencer, 2, 0x01, None),
        (vga.sequencer, 2, 0x04, TEXT_MEMORY),
        (vga.sequencer, 4, 0x02, None),
    ):
        vga.program(device, register, value)
        found = None if vga.in_front is None else range(vga.in_front.gpa, vga.in_front.gpa + vga.in_front.length)
        assert found == expected


def test_pages_that_are_not_there_are_awaited_before_anything_changes() -> None:
    vga = Vga(absent=True)
    vga.memory.bytes[GRAPHICS_MEMORY.start + 5 * PAGE_SIZE] = 0x55
    vga.program(vga.sequencer, 4, 0x0E)
    assert vga.program(vga.graphics, 6, 5) == 0
    assert vga.program(vga.sequencer, 4, 6) == len(GRAPHICS_MEMORY) // PAGE_SIZE
    assert vga.video_memory.planes.contents[5 * PAGE_SIZE] == 0x55
    vga.memory.absent = set(GRAPHICS_MEMORY[::PAGE_SIZE])
    vga.video_memory.planes.contents[6 * PAGE_SIZE] = 0x66
    assert vga.program(vga.sequencer, 4, 0x0E) == len(GRAPHICS_MEMORY) // PAGE_SIZE
    assert vga.memory.bytes[GRAPHICS_MEMORY.start + 6 * PAGE_SIZE] == 0x66


def test_what_was_saved_is_loaded_into_another() -> None:
    vga, other = Vga(), Vga()
    for each in (vga, other):
        each.program(each.graphics, 5, 0)
        each.program(each.sequencer, 4, 6)
        each.program(each.graphics, 6, 5)
    assert vga.in_front is not None
    vga.in_front.write_mmio(0, 0x1234, 2, 0x55AA)
    vga.in_front.read_mmio(0, 0x1234, 1)
    state = vga.video_memory.save()
    other.video_memory.load(state)
    assert other.video_memory.save() == state
    assert other.in_front is not None
    assert other.in_front.read_mmio(0, 0x1234, 2) == 0x55AA
    other.video_memory.reset()
    assert other.video_memory.planes.latches == 0
    assert not other.in_front
