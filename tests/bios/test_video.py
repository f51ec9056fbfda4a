"""INT 10h."""

import struct
from collections.abc import Callable, Sequence

import pytest

from kev.addressing import Gpa
from kev.dev.display.framebuffer import VideoMode
from kev.dev.display.glyphs import glyph, small_glyph
from kev.dev.display.picture import Picture, take_picture
from kev.machine.machine import Machine
from tests.bios.calls import Called, interrupt, run, text
from tests.machine.code import code

TEXT = 0xB8000


def at(row: int, column: int) -> bytes:
    return interrupt(0x10, eax=0x0200, ebx=0, edx=row << 8 | column)


def test_teletype_output_is_on_the_screen_and_printed() -> None:
    called = run(text("Hello,\r\n  world.\r\n"))
    assert called.text == "Hello,\n  world."
    assert called.output == "Hello,\n  world.\n"


def test_the_cursor_is_behind_what_was_typed() -> None:
    called = run(text("one\r\ntwo"), interrupt(0x10, eax=0x0300, ebx=0))
    assert (called["dh"], called["dl"], called["cx"]) == (1, 3, 0x0607)


def test_a_backspace_goes_back_and_the_next_character_takes_the_place() -> None:
    called = run(text("xy\bz\a"))
    assert called.text == "xz"
    assert called.output == "xy\bz"


def test_the_last_column_is_followed_by_the_next_row() -> None:
    called = run(interrupt(0x10, eax=0x0200, ebx=0, edx=79), text("ab"))
    assert called.text == " " * 79 + "a\nb"


def test_the_last_row_makes_room() -> None:
    called = run(text("top\r\n"), at(24, 0), text("last\r\nnew"))
    assert called.text.split("\n") == [""] * 23 + ["last", "new"]


def test_characters_with_an_attribute_leave_the_cursor() -> None:
    seen: list[bytes] = []
    called = run(
        at(2, 1),
        interrupt(0x10, eax=0x0941, ebx=0x1E, ecx=3),
        interrupt(0x10, eax=0x0300, ebx=0),
        at_end=lambda machine: seen.append(machine.vm.memory.read(Gpa(TEXT + 2 * 161), 6)),
    )
    assert (called["dh"], called["dl"]) == (2, 1)
    assert seen == [b"A\x1eA\x1eA\x1e"]


def test_a_character_and_its_attribute_are_read_back() -> None:
    called = run(interrupt(0x10, eax=0x0941, ebx=0x1E, ecx=1), interrupt(0x10, eax=0x0800, ebx=0))
    assert called["ax"] == 0x1E41


WORDS = b"\xeb\x05words"
"""A jump over a string, at the beginning of the boot sector."""


@pytest.mark.parametrize(("moves", "cursor"), [(1, (3, 10)), (0, (0, 0))])
def test_a_string_is_written_where_it_is_told(moves: int, cursor: tuple[int, int]) -> None:
    write = interrupt(0x10, eax=0x1300 | moves, ebx=0x07, ecx=5, edx=0x0305, ebp=0x7C02)
    called = run(WORDS, write, interrupt(0x10, eax=0x0300, ebx=0))
    assert called.text == "\n\n\n     words"
    assert (called["dh"], called["dl"]) == cursor


def test_a_string_may_have_its_own_attributes() -> None:
    seen: list[bytes] = []
    run(
        b"\xeb\x04a\x1eb\x1f",
        interrupt(0x10, eax=0x1303, ebx=0, ecx=2, edx=0, ebp=0x7C02),
        at_end=lambda machine: seen.append(machine.vm.memory.read(Gpa(TEXT), 4)),
    )
    assert seen == [b"a\x1eb\x1f"]


def test_a_window_is_scrolled_and_filled() -> None:
    called = run(text("a\r\nb\r\nc"), interrupt(0x10, eax=0x0601, ebx=0x0700, ecx=0, edx=0x014F))
    assert called.text == "b\n\nc"
    called = run(text("a\r\nb\r\nc"), interrupt(0x10, eax=0x0701, ebx=0x0700, ecx=0, edx=0x014F))
    assert called.text == "\na\nc"


def test_a_text_mode_clears_the_screen_unless_it_is_told_not_to() -> None:
    assert run(text("gone"), interrupt(0x10, eax=0x0003)).text == ""
    assert run(text("here"), interrupt(0x10, eax=0x0083)).text == "here"


def test_it_is_mode_3_with_80_columns_on_a_vga() -> None:
    called = run(interrupt(0x10, eax=0x0F00, ebx=0xFFFF))
    assert (called["al"], called["ah"], called["bh"]) == (3, 80, 0)
    called = run(interrupt(0x10, eax=0x1A00, ebx=0))
    assert (called["al"], called["bl"]) == (0x1A, 8)


def test_a_graphics_mode_that_there_is_not_is_named_once() -> None:
    called = run(interrupt(0x10, eax=0x0008), interrupt(0x10, eax=0x0008))
    assert called.carry
    assert called.warnings == (
        "kev: INT 10h, AH = 00h (video mode 08h) at 0000:7c06: the BIOS does not serve it, and returned with CF = 1",
    )


@pytest.mark.parametrize("mode", [0, 1])
def test_modes_0_and_1_have_40_columns(mode: int) -> None:
    wide: list[int] = []
    called = run(
        interrupt(0x10, eax=mode),
        interrupt(0x10, eax=0x0200, ebx=0, edx=39),
        text("ab"),
        interrupt(0x10, eax=0x0F00),
        at_end=lambda machine: wide.append(take_picture(machine.vm.screen, None).width),
    )
    assert called.text == " " * 39 + "a\nb"
    assert (called["al"], called["ah"], wide) == (mode, 40, [640])
    assert run(interrupt(0x10, eax=mode), interrupt(0x10, eax=3), at(0, 79), text("ab")).text == " " * 79 + "a\nb"


def test_fonts_are_there_to_be_copied() -> None:
    """The letter I in both heights: a stem between two bars."""
    font = interrupt(0x10, eax=0x1130, ebx=0x0600)
    copy = code("26 8a 86 94 04 a2 00 90 26 8a 86 9f 04 a2 01 90 ; bytes 4 and 15 of [es:bp + 'I' * 16] to 9000h")
    called = run(font, copy)
    assert (called["cx"], called["dl"], called.bytes_at(0x9000, 2)) == (16, 24, bytes((glyph(ord("I"))[4], 0)))
    small = interrupt(0x10, eax=0x1130, ebx=0x0300)
    called = run(small, code("26 8a 86 4a 02 a2 00 90 ; byte 2 of [es:bp + 'I' * 8]"))
    assert called.bytes_at(0x9000, 1) == bytes((small_glyph(ord("I"))[2],)) != b"\0"
    assert "font 02h" in run(interrupt(0x10, eax=0x1130, ebx=0x0200)).warnings[0]
    assert run(interrupt(0x10, eax=0x1114, ebx=0)).warnings == ()


def test_characters_of_8_lines_make_50_rows() -> None:
    pictures: list[Picture] = []
    called = run(
        interrupt(0x10, eax=0x1112, ebx=0),
        at(49, 79),
        interrupt(0x10, eax=0x0941, ebx=0x1E, ecx=1),
        interrupt(0x10, eax=0x1130, ebx=0x0600),
        at_end=lambda machine: pictures.append(take_picture(machine.vm.screen, None)),
    )
    (picture,) = pictures
    assert called.text == "\n" * 49 + " " * 79 + "A"
    assert (called["cx"], called["dl"], picture.width, picture.height) == (8, 49, 640, 400)
    rows = [sum(0x80 >> x for x in range(8) if pixel(picture, 632 + x, 392 + y) == b"\xff\xff\x55") for y in range(8)]
    assert tuple(rows) == small_glyph(ord("A"))


def test_characters_that_a_guest_brings_are_shown() -> None:
    pictures: list[Picture] = []
    table = b"\xeb\x10" + bytes(range(0x80, 0x90))  # a jump over the rows of one character, at 7c02h
    run(
        table,
        interrupt(0x10, eax=0x1100, ebx=0x1000, ecx=1, edx=ord("A"), es=0, ebp=0x7C02),
        text("A"),
        at_end=lambda machine: pictures.append(take_picture(machine.vm.screen, None)),
    )
    rows = [sum(0x80 >> x for x in range(8) if pixel(pictures[0], x, y) != bytes(3)) for y in range(16)]
    assert rows == list(range(0x80, 0x90))


# Graphics


def graphics(mode: int, *parts: bytes) -> tuple[Called, Picture]:
    """What comes of a boot sector in a mode."""
    pictures: list[Picture] = []
    called = run(interrupt(0x10, eax=mode), *parts, at_end=lambda machine: pictures.append(take_picture(machine.vm.screen, None)))
    return called, pictures[0]


MODES = {
    0x04: (320, 200, 3),
    0x06: (640, 200, 1),
    0x0D: (320, 200, 15),
    0x0E: (640, 200, 15),
    0x10: (640, 350, 15),
    0x11: (640, 480, 15),
    0x12: (640, 480, 15),
    0x13: (320, 200, 15),
}
"""Width, height, and the number of white."""


def drawn(picture: Picture) -> set[tuple[int, int]]:
    """Pixels that are not black."""
    return {divmod(place, picture.width)[::-1] for place in range(picture.width * picture.height) if any(_at(picture, place))}


def _at(picture: Picture, place: int) -> bytes:
    return picture.pixels[3 * place : 3 * place + 3]


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_has_its_size_and_its_pixels_are_set_and_read(mode: int) -> None:
    width, height, colour = MODES[mode]
    called, picture = graphics(
        mode,
        interrupt(0x10, eax=0x0C00 | colour, ebx=0, ecx=width - 1, edx=height - 1),
        interrupt(0x10, eax=0x0C00 | colour, ebx=0, ecx=9, edx=3),
        interrupt(0x10, eax=0x0C00 | colour, ebx=0, ecx=width, edx=0),
        interrupt(0x10, eax=0x0D00, ebx=0, ecx=9, edx=3),
    )
    assert called["al"] == colour
    assert (picture.width, picture.height) == (width, height)
    assert drawn(picture) == {(9, 3), (width - 1, height - 1)}
    assert pixel(picture, 9, 3) == b"\xff\xff\xff"


@pytest.mark.parametrize("mode", MODES)
def test_text_is_drawn_and_scrolls_in_every_mode(mode: int) -> None:
    _, height, colour = MODES[mode]
    last = 29 if height == 480 else 24
    called, picture = graphics(
        mode,
        interrupt(0x10, eax=0x0200, ebx=0, edx=last << 8 | 2),
        interrupt(0x10, eax=0x0E41, ebx=colour),
        interrupt(0x10, eax=0x0E0A, ebx=colour),
        interrupt(0x10, eax=0x0E42, ebx=colour),
    )
    lines = {200: 8, 350: 14, 480: 16}[height]
    fonts: dict[int, Callable[[int], Sequence[int]]] = {8: small_glyph, 14: lambda code: glyph(code)[1:15], 16: glyph}
    expected = {
        (8 * column + x, row * lines + y)
        for row, column, code in ((last - 1, 2, ord("A")), (last, 3, ord("B")))
        for y, bits in enumerate(fonts[lines](code))
        for x in range(8)
        if bits & 0x80 >> x
    }
    assert drawn(picture) == expected
    assert called.output == "  A\n   B"


def test_a_colour_with_bit_7_is_combined_with_what_is_there() -> None:
    dot = interrupt(0x10, eax=0x0C85, ebx=0, ecx=9, edx=3)
    called, picture = graphics(
        0x12, interrupt(0x10, eax=0x0C0F, ebx=0, ecx=9, edx=3), dot, interrupt(0x10, eax=0x0D00, ecx=9, edx=3)
    )
    assert (called["al"], pixel(picture, 9, 3)) == (10, b"\x55\xff\x55")
    assert not drawn(graphics(0x12, dot, dot)[1])


def test_attributes_and_the_palette_of_a_cga_are_set() -> None:
    _, picture = graphics(0x12, interrupt(0x10, eax=0x1000, ebx=0x0402), interrupt(0x10, eax=0x0C02, ebx=0, ecx=0, edx=0))
    assert pixel(picture, 0, 0) == b"\xaa\x00\x00"
    dot, background = interrupt(0x10, eax=0x0C01, ebx=0, ecx=0, edx=0), interrupt(0x10, eax=0x0B00, ebx=0x0001)
    for palette, colour in ((0, b"\x00\xaa\x00"), (1, b"\x00\xaa\xaa")):
        _, picture = graphics(4, interrupt(0x10, eax=0x0B00, ebx=0x100 | palette), dot, background)
        assert (pixel(picture, 0, 0), pixel(picture, 1, 0)) == (colour, b"\x00\x00\xaa")


def test_a_text_mode_brings_its_font_back() -> None:
    """Behind a picture that has overwritten all four planes."""
    fill = code("b8 00 a0 8e c0 31 ff b9 00 80 b8 ff ff f3 ab ; 64 KiB from a000:0 on")
    _, picture = graphics(0x12, fill, interrupt(0x10, eax=3), text("A"))
    _, expected = graphics(3, text("A"))
    assert picture == expected


# Mode 13h


def pixels(*parts: bytes) -> tuple[Called, Picture]:
    """What comes of a boot sector in mode 13h."""
    return graphics(0x13, *parts)


def pixel(picture: Picture, x: int, y: int) -> bytes:
    start = 3 * (y * picture.width + x)
    return picture.pixels[start : start + 3]


def test_in_mode_13h_a_byte_of_memory_is_a_pixel() -> None:
    draw = code("b8 00 a0 8e c0 26 c6 06 41 01 28 ; byte [a000:0141] = 28h")
    called, picture = pixels(draw, interrupt(0x10, eax=0x0F00))
    assert (called["al"], called["ah"]) == (0x13, 40)
    assert (picture.width, picture.height) == (320, 200)
    assert (pixel(picture, 1, 1), pixel(picture, 2, 1)) == (b"\xff\x00\x00", bytes(3)), "28h is red"


def test_pixels_are_set_and_read() -> None:
    called, picture = pixels(
        interrupt(0x10, eax=0x0C2C, ebx=0, ecx=319, edx=199),
        interrupt(0x10, eax=0x0C2C, ebx=0, ecx=320, edx=0),
        interrupt(0x10, eax=0x0D00, ebx=0, ecx=319, edx=199),
    )
    assert called["al"] == 0x2C
    assert pixel(picture, 319, 199) == b"\xff\xff\x00"
    assert picture.pixels.count(b"\xff") == 2, "what is outside is not drawn"


def test_pixels_in_text_modes_are_named() -> None:
    assert "pixels in a text mode" in run(interrupt(0x10, eax=0x0C01)).warnings[0]


def test_text_in_mode_13h_is_drawn_in_its_colour_and_printed() -> None:
    called, picture = pixels(interrupt(0x10, eax=0x0E41, ebx=0x28), interrupt(0x10, eax=0x0942, ebx=0x2C, ecx=1))
    assert called.output == "AB"
    cells = [{pixel(picture, 8 * column + x, y) for x in range(8) for y in range(8)} for column in range(3)]
    assert cells == [{bytes(3), b"\xff\x00\x00"}, {bytes(3), b"\xff\xff\x00"}, {bytes(3)}]


def test_a_picture_scrolls_with_its_text() -> None:
    _, picture = pixels(interrupt(0x10, eax=0x0C28, ebx=0, ecx=9, edx=8), at(24, 0), text("\n"))
    assert (pixel(picture, 9, 0), pixel(picture, 9, 8)) == (b"\xff\x00\x00", bytes(3))


def test_windows_are_filled_with_a_colour() -> None:
    _, picture = pixels(interrupt(0x10, eax=0x0600, ebx=0x2800, ecx=0x0101, edx=0x0202))
    red = {(x, y) for x in range(32) for y in range(32) if pixel(picture, x, y) == b"\xff\x00\x00"}
    assert red == {(x, y) for x in range(8, 24) for y in range(8, 24)}


def test_colours_are_set_and_read() -> None:
    table = b"\xeb\x06" + bytes((63, 0, 0, 0, 63, 0))  # a jump over two colours, at 7c02h
    called = run(
        table,
        interrupt(0x10, eax=0x1012, ebx=5, ecx=2, edx=0x7C02, es=0),
        interrupt(0x10, eax=0x1010, ebx=7, ecx=0x0102, edx=0x0300),
        interrupt(0x10, eax=0x1017, ebx=5, ecx=3, edx=0x9000, es=0),
        interrupt(0x10, eax=0x1015, ebx=6),
    )
    assert called.bytes_at(0x9000, 9) == bytes((63, 0, 0, 0, 63, 0, 3, 1, 2))
    assert (called["dh"], called["ch"], called["cl"]) == (0, 63, 0)


def test_a_text_mode_ends_the_picture() -> None:
    shown: list[bool] = []
    run(
        interrupt(0x10, eax=0x0013), interrupt(0x10, eax=3), at_end=lambda machine: shown.append(machine.vm.screen.in_graphics_mode)
    )
    assert shown == [False]


def test_text_all_over_the_screen_is_printed_line_by_line() -> None:
    called = run(text("one"), at(3, 0), text("two"), at(1, 4), text("three"), at(1, 2), text("X"))
    assert called.output == "one\ntwo\n    three" + "\b" * 7 + "X"
    assert called.text == "one\n  X three\n\ntwo"


def test_what_is_printed_already_is_not_printed_twice() -> None:
    """First with its attribute, then to move the cursor, as iPXE does."""
    called = run(*(interrupt(0x10, eax=0x0900 | byte, ebx=7, ecx=1) + text(chr(byte)) for byte in b"iPXE"))
    assert called.output == "iPXE"


@pytest.mark.parametrize("count", [3, 2000])
def test_blanks_that_clear_a_part_of_the_screen_are_not_printed(count: int) -> None:
    assert run(interrupt(0x10, eax=0x0920, ebx=7, ecx=count), text("x")).output == "x"


def test_a_screen_that_was_written_to_without_the_bios_is_news() -> None:
    seen: list[bool] = []

    def look(machine: Machine) -> None:
        seen.append(machine.report().screen_is_news)

    direct = code("b8 00 b8 8e c0 26 c6 06 a0 00 21 ; byte [b800:00a0] = '!'")
    run(text("printed"), at_end=look)
    run(text("printed"), direct, at_end=look)
    run(direct, at_end=look)
    run(direct, code("b0 21 e6 e9 ; and on port 0xe9"), at_end=look)
    assert seen == [False, True, True, False]


# Framebuffers

INFORMATION = 0x9000
FRAMEBUFFER = 0xFD00_0000
LINEAR, KEEP = 0x4000, 0x8000


def vbe(function: int, **registers: int) -> bytes:
    return interrupt(0x10, eax=0x4F00 | function, **registers)


@pytest.mark.parametrize(("wanted", "size"), [(b"VBE2", 512), (b"\0\0\0\0", 256)])
def test_the_controller_lists_its_modes(wanted: bytes, size: int) -> None:
    ask = code("66 c7 06 00 90") + wanted  # mov dword [INFORMATION], wanted
    called = run(ask, code("c6 06 ff 90 77 ; mov byte [0x90ff], 0x77"), vbe(0, es=0, edi=INFORMATION))
    assert (called["ax"], called.bytes_at(INFORMATION, 6)) == (0x004F, b"VESA\0\3")
    assert called.bytes_at(INFORMATION + 255, 1) == b"\0"
    offset, segment, units = struct.unpack("<HHH", called.bytes_at(INFORMATION + 0x0E, 6))
    assert units == 256, "16 MiB"
    numbers = struct.unpack("<64H", called.bytes_at(segment * 16 + offset, 128))
    listed = numbers[: numbers.index(0xFFFF)]
    assert {0x114, 0x115, 0x118, 0x144} <= set(listed)
    assert called.bytes_at(INFORMATION + size, 4) == bytes(4)


@pytest.mark.parametrize(
    ("number", "width", "height", "depth", "red"),
    [
        (0x117, 1024, 768, 16, (5, 11)),
        (0x115, 800, 600, 24, (8, 16)),
        (0x144, 1024, 768, 32, (8, 16)),
        (0x193, 1920, 1080, 32, (8, 16)),
    ],
)
def test_a_mode_says_where_its_pixels_are(number: int, width: int, height: int, depth: int, red: tuple[int, int]) -> None:
    called = run(vbe(1, es=0, ecx=number, edi=INFORMATION))
    assert called["ax"] == 0x004F
    block = called.bytes_at(INFORMATION, 256)
    (attributes,) = struct.unpack_from("<H", block)
    assert attributes & 0x99 == 0x99, "supported, in colour, graphics, linear"
    assert struct.unpack_from("<HHH", block, 0x10) == (width * depth // 8, width, height)
    assert (block[0x19], block[0x1B], tuple(block[0x1F:0x21])) == (depth, 6, red)
    assert struct.unpack_from("<I", block, 0x28) == (FRAMEBUFFER,)


def test_a_mode_that_is_set_is_shown_from_its_start_on_and_cleared_unless_it_is_to_stay() -> None:
    shown: list[tuple[VideoMode, bytes]] = []

    def look(machine: Machine) -> None:
        framebuffer = machine.vm.framebuffer
        assert framebuffer is not None
        shown.append((framebuffer.mode, framebuffer.pixels()[:3]))

    # The stack's selectors keep what a boot sector has: 4 GiB limits come from protected mode, which this one enters and leaves.
    draw = code(
        """
        fa 0f 01 16 LGDT                ; cli; lgdt
        0f 20 c0 0c 01 0f 22 c0         ; enter protected mode
        bb 08 00 8e e3                  ; mov bx, 8; mov fs, bx
        24 fe 0f 22 c0                  ; leave it
        66 bb 00 00 00 fd               ; mov ebx, FRAMEBUFFER
        64 67 66 c7 03 33 22 11 00      ; mov dword fs:[ebx], 0x112233
        """.replace("LGDT", "e0 7d")
    )
    table = struct.pack("<HIQQ", 15, 0x7DE6, 0, 0x00CF_9200_0000_FFFF)
    away, back = vbe(7, ebx=0, ecx=0, edx=768), vbe(7, ebx=0x80, ecx=0, edx=0)
    for again in (b"", vbe(2, ebx=0x144 | LINEAR | KEEP), vbe(2, ebx=0x144 | LINEAR), away, away + back):
        body = vbe(2, ebx=0x144 | LINEAR) + draw + again + vbe(3)
        called = run(body + code("fa f4").ljust(0x1E0 - len(body), b"\0") + table, at_end=look)
        assert (called["ax"], called["bx"]) == (0x004F, 0x144 | LINEAR)
    drawn = bytes((0x11, 0x22, 0x33))
    assert shown == [(VideoMode(1024, 768, 32), pixel) for pixel in (drawn, drawn, bytes(3), bytes(3), drawn)]


@pytest.mark.parametrize("back", [interrupt(0x10, eax=0x0003), vbe(2, ebx=3)])
def test_text_is_shown_again(back: bytes) -> None:
    seen: list[object] = []
    called = run(vbe(2, ebx=0x115 | LINEAR), back, text("text"), vbe(3), at_end=lambda machine: seen.append(machine.vm.framebuffer))
    assert (seen, called.text, called["bx"]) == ([None], "text", 3)


@pytest.mark.parametrize(
    ("call", "ax"),
    [
        (vbe(2, ebx=0x144), 0x014F),  # by windows
        (vbe(2, ebx=0x102 | LINEAR), 0x014F),
        (vbe(1, es=0, ecx=0x102, edi=INFORMATION), 0x014F),
        (vbe(6, ebx=1), 0x014F),
        (vbe(0x15, ebx=0), 0x0100),
    ],
)
def test_what_there_is_not_fails(call: bytes, ax: int) -> None:
    assert run(call)["ax"] == ax


def test_the_length_of_a_row_and_the_start_are_told() -> None:
    mode = vbe(2, ebx=0x115 | LINEAR)
    called = run(mode, vbe(6, ebx=1))
    assert (called["ax"], called["bx"], called["cx"]) == (0x004F, 2400, 800)
    assert run(mode, vbe(6, ebx=0, ecx=1024))["ax"] == 0x014F
    moved = run(mode, vbe(7, ebx=0, ecx=0, edx=600), vbe(7, ebx=1))
    assert (moved["ax"], moved["cx"], moved["dx"]) == (0x004F, 0, 600)
    assert run(mode, vbe(7, ebx=0, ecx=1, edx=0))["ax"] == 0x014F
    assert run(mode, vbe(7, ebx=0, ecx=0, edx=6400))["ax"] == 0x014F


def test_of_a_string_as_much_is_written_as_fills_the_screen_twice() -> None:
    fill = code("""
        b8 00 10 8e c0 31 ff    ; mov ax, 0x1000; mov es, ax; xor di, di
        b9 ff ff b0 41 f3 aa    ; mov cx, 0xffff; mov al, 'A'; rep stosb
        31 ed                   ; xor bp, bp
    """)
    write = code("b8 01 13 bb 07 00 b9 ff ff 31 d2 cd 10  ; AX = 1301h, BX = 7, CX = ffffh, DX = 0; int 0x10")
    called = run(fill + write)
    assert called.output.count("A") == 4000
    assert set(called.text) == {"A", "\n"}


def test_modes_with_256_colours_have_them_by_number() -> None:
    """Colour 1 is set through the BIOS, and blue comes first there."""
    pictures: list[Picture] = []
    table = b"\xeb\x04" + bytes((0, 32, 63, 0))
    # As above: a segment of 4 GiB from protected mode.
    draw = code(
        """
        fa 0f 01 16 e0 7d 0f 20 c0 0c 01 0f 22 c0 bb 08 00 8e e3 24 fe 0f 22 c0
        66 bb 00 00 00 fd 64 67 66 c7 03 01 00 28 00    ; mov dword fs:[FRAMEBUFFER], 0x280001
        """
    )
    descriptors = struct.pack("<HIQQ", 15, 0x7DE6, 0, 0x00CF_9200_0000_FFFF)
    body = (
        table
        + vbe(2, ebx=0x101 | LINEAR)
        + vbe(9, ebx=0, ecx=1, edx=1, edi=0x7C02, es=0)
        + vbe(9, ebx=1, ecx=2, edx=0, edi=INFORMATION, es=0)
        + draw
    )
    called = run(
        body + code("fa f4").ljust(0x1E0 - len(body), b"\0") + descriptors,
        at_end=lambda machine: pictures.append(take_picture(machine.vm.screen, machine.vm.framebuffer)),
    )
    assert called.bytes_at(INFORMATION, 8) == bytes((0, 0, 0, 0, 0, 32, 63, 0))
    (picture,) = pictures
    assert (picture.width, picture.height) == (640, 480)
    assert [pixel(picture, x, 0) for x in range(3)] == [b"\xff\x82\x00", bytes(3), b"\xff\x00\x00"]


def test_a_mode_with_256_colours_says_so() -> None:
    block = run(vbe(1, es=0, ecx=0x105, edi=INFORMATION)).bytes_at(INFORMATION, 256)
    assert struct.unpack_from("<HHH", block, 0x10) == (1024, 1024, 768)
    assert (block[0x19], block[0x1B], block[0x1F:0x27]) == (8, 4, bytes(8)), "packed pixels"
