"""The planes of a VGA are a device in front of guest memory for a time: neither is lost, whatever a machine does meanwhile."""

from pathlib import Path

import pytest
import trio

import kev
from kev.addressing import Gpa
from kev.dev.display.picture import Picture, take_picture
from kev.machine.checkpoint import Checkpoint
from kev.machine.machine import Machine, MachineState
from kev.machine.saved import save_registers
from kev.state import State
from tests.machine.code import code
from tests.machine.restoring import held, run, save

PLANES = code("""
b8 12 00 cd 10          ; mov ax, 0x12; int 0x10
b8 00 a0 8e c0          ; mov es, 0xa000
ba c4 03 b8 02 03 ef    ; write to planes 0 and 1
31 ff b9 58 02 b0 5a    ; xor di, di; mov cx, 600; mov al, 0x5a
f3 aa                   ; rep stosb
""")
CHAINED = code("b8 04 0e ef b9 f4 01 f3 aa ; chain them; mov cx, 500; rep stosb")
UNCHAINED = code("""
b8 04 06 ef b8 02 08 ef ; unchain them; write to plane 3
b9 90 01 f3 aa          ; mov cx, 400; rep stosb
26 a0 00 01 a2 00 90    ; mov al, es:[0x100]; mov [0x9000], al
b8 02 0f ef             ; write to all planes
26 8a 1e 00 00          ; mov bl, es:[0]
ba ce 03 b8 05 01 ef    ; write mode 1
b9 2c 01 f3 aa          ; mov cx, 300; rep stosb
""")
MODE_13 = code("b8 13 00 cd 10 b9 f4 01 f3 aa ; mov ax, 0x13; int 0x10; mov cx, 500; rep stosb")
KEPT = code("b8 92 00 cd 10 26 c6 06 50 00 f0 ; mov ax, 0x92; int 0x10; mov byte es:[0x50], 0xf0")
POINTS = (40, 600, 700, 1100, 1250, 1650, 1800, 2200, 2330, 2345)
"""Instructions: in every part of the code."""
Seen = tuple[Picture, list[State], bytes]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "sector"
    text = PLANES + CHAINED + UNCHAINED + MODE_13 + KEPT + code("fa f4 ; cli; hlt")
    file.write_bytes(text.ljust(510, b"\0") + b"\x55\xaa")
    return file


def seen(machine: Machine) -> Seen:
    vm = machine.vm
    return take_picture(vm.screen, None), [save_registers(vcpu.state) for vcpu in vm.vcpus], vm.memory.read(Gpa(0x9000), 16)


def uninterrupted(image: Path) -> Seen:
    with held(image, seed=1) as machine:
        run(machine)
        return seen(machine)


def test_planes_that_are_chained_are_memory_and_memory_that_is_unchained_is_planes(image: Path) -> None:
    picture, _, memory = uninterrupted(image)
    assert memory[0] == 0x04, "plane 0 at 0x100 is byte 0x400 of what was written while they were chained"
    white = b"\xff\xff\xff"
    start = 3 * (5 * 640 + 50 * 8)
    assert picture.pixels[start : start + 24] == bytes(6) + white + bytes(15), "byte 1800 of mode 13h, 0x20"
    assert picture.pixels[3 * 640 : 3 * 648] == white * 4 + bytes(12), "byte 0x50, in all planes"


@pytest.mark.parametrize("point", POINTS)
def test_a_snapshot_holds_both(image: Path, tmp_path: Path, point: int) -> None:
    expected = uninterrupted(image)
    with held(image, seed=1) as machine:
        machine.vm.stop_at = point
        run(machine)
        assert machine.vm.ending is None
        save(machine, tmp_path / "snapshot")
    with held(tmp_path / "snapshot") as machine:
        run(machine)
        assert seen(machine) == expected


def test_checkpoints_go_back_across_all_modes(image: Path) -> None:
    expected = uninterrupted(image)
    with held(image, seed=1) as machine:
        kept = []
        for point in POINTS:
            machine.vm.stop_at = point
            run(machine)
            kept.append((Checkpoint(machine.vm, machine.scheduler), seen(machine)))
        run(machine)
        for index in (9, 0, 5, 2, 8, 1, 7, 3, 6, 4, 9, 4):
            checkpoint, before = kept[index]
            checkpoint.rewind()
            assert seen(machine) == before
            if index % 3 == 0:
                run(machine)
                assert seen(machine) == expected


@pytest.mark.parametrize("point", POINTS[::3])
async def test_a_fork_goes_on_with_both(image: Path, point: int) -> None:
    async with kev.start(image, seed=1, paused=True) as machine:
        machine.vm.stop_at = point
        await machine.resume()
        with trio.fail_after(60):
            while machine.state is not MachineState.PAUSED:
                await trio.lowlevel.checkpoint()
        one, other = await machine.fork(2)
        pictures = []
        for runs in (one, machine, other):
            await runs.resume()
            await runs.wait()
            pictures.append(runs.screenshot())
        assert pictures[0] == pictures[1] == pictures[2]


def test_a_font_that_a_guest_loads_where_text_is_leaves_the_text(tmp_path: Path) -> None:
    """As those do that do not move the memory for it: the letter A becomes two stripes."""
    image = tmp_path / "sector"
    load = code("""
    b8 00 b8 8e c0 26 c7 06 00 00 41 07 ; mov es, 0xb800; mov word es:[0], 0x741
    ba c4 03 b8 02 04 ef b8 04 06 ef    ; write to plane 2, at addresses that are not odd and even
    ba ce 03 b8 05 00 ef                ; nor are those read
    bf 20 08 b9 10 00 b0 81 f3 aa       ; mov di, 'A' * 32; mov cx, 16; mov al, 0x81; rep stosb
    b8 05 10 ef                         ; odd and even again
    ba c4 03 b8 04 02 ef b8 02 03 ef    ; to planes 0 and 1
    26 c6 06 02 00 42                   ; mov byte es:[2], 'B'
    """)
    image.write_bytes((load + code("fa f4 ; cli; hlt")).ljust(510, b"\0") + b"\x55\xaa")
    with held(image, seed=1) as machine:
        run(machine)
        assert machine.vm.screen.text == "AB"
        picture = take_picture(machine.vm.screen, None)
    rows = [[any(picture.pixels[3 * (640 * y + x) : 3 * (640 * y + x) + 3]) for x in range(8)] for y in range(16)]
    assert rows == [[True, *[False] * 6, True]] * 16


def test_text_has_the_columns_and_rows_that_the_registers_say(tmp_path: Path) -> None:
    """90 by 60, with characters of 8 lines. The last one is in the corner."""
    image = tmp_path / "sector"
    crt = ((0x11, 0x0C), (1, 0x59), (7, 0x3E), (9, 0x47), (0x12, 0xDF), (0x13, 0x2D))
    registers = b"".join(code("b8") + bytes(register) + code("ef") for register in crt)
    put = code("b8 00 b8 8e c0 26 c7 06 2e 2a 5a 07 ; mov es, 0xb800; mov word es:[2 * 5399], 0x75a")
    image.write_bytes((code("ba d4 03") + registers + put + code("fa f4")).ljust(510, b"\0") + b"\x55\xaa")
    with held(image, seed=1) as machine:
        run(machine)
        assert machine.vm.screen.text == "\n" * 59 + " " * 89 + "Z"
        assert take_picture(machine.vm.screen, None)[:2] == (720, 480)


def test_how_an_access_is_counted_does_not_depend_on_who_does_it(image: Path) -> None:
    """With a seed every one is an exit; else planes are accessed natively, where they can be."""
    counted = kev.launch(image, seed=1).exits
    alone = kev.launch(image).exits
    assert counted["MmioWrite"] == alone["MmioWrite"] > 1000
    assert counted["MmioRead"] == alone["MmioRead"] == 2
