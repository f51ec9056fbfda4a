"""What guests show: framebuffers that boot information tells of, and pictures of them and of the text screen."""

import struct
import zlib
from pathlib import Path

import pytest

import kev
from kev.cli.launch import main
from kev.dev.display.framebuffer import VideoMode
from kev.dev.display.glyphs import glyph
from kev.machine.machine import Machine
from kev.machine.run_report import RunReport
from tests.abi.calls import POWER_OFF
from tests.boot.images import elf, multiboot1_header, multiboot2_header, source, tag2

MIB = 1 << 20
START = 0x100
"""Where the code begins, behind the header."""
WHITE, GREY, BLUE, BLACK = b"\xff\xff\xff", b"\xaa\xaa\xaa", b"\x00\x00\xaa", b"\0\0\0"


class Picture:
    """A PNG file of true colours without filters, read back."""

    def __init__(self, data: bytes) -> None:
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        chunks, position = {}, 8
        while position < len(data):
            (size,) = struct.unpack_from(">I", data, position)
            kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + size]
            assert struct.unpack_from(">I", data, position + 8 + size) == (zlib.crc32(kind + body),)
            chunks[kind] = body
            position += 12 + size
        assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
        self.width, self.height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
        assert rest == [8, 2, 0, 0, 0]
        rows = zlib.decompress(chunks[b"IDAT"])
        length = 3 * self.width + 1
        assert len(rows) == length * self.height
        self.rows = [rows[start + 1 : start + length] for start in range(0, len(rows), length)]

    def at(self, x: int, y: int) -> bytes:
        return self.rows[y][3 * x : 3 * x + 3]

    def cell(self, column: int, row: int) -> list[list[bytes]]:
        return [[self.at(8 * column + x, 16 * row + y) for x in range(8)] for y in range(16)]


def kernel(header: bytes, text: bytes) -> bytes:
    return bytes(elf(header.ljust(START, b"\0") + text + POWER_OFF, entry=MIB + START))


def shown(header: bytes, text: bytes) -> tuple[RunReport, Picture]:
    pictures: list[bytes] = []

    def at_end(machine: Machine) -> None:
        pictures.append(machine.screenshot())

    report = kev.launch(source(kernel(header, text)), memory="16M", timeout=30, at_end=at_end)
    assert report.exit_code == 0, report.ending.message
    return report, Picture(pictures[0])


def video1(kind: int, width: int, height: int, depth: int) -> bytes:
    return multiboot1_header(1 << 2, [0, 0, 0, 0, 0, kind, width, height, depth])


def draw(offset: int, value: int, size: int = 4) -> bytes:
    """Stores a pixel into the framebuffer."""
    instruction = {4: b"\xc7\x05", 2: b"\x66\xc7\x05", 1: b"\xc6\x05"}[size]
    return instruction + struct.pack("<I", 0xFD00_0000 + offset) + value.to_bytes(size, "little")


@pytest.mark.parametrize(
    ("header", "mode"),
    [
        (multiboot2_header(tag2(5, 800, 600, 32)), VideoMode(800, 600, 32)),
        (multiboot2_header(tag2(5, 0, 0, 0)), VideoMode(1024, 768, 32)),
        (multiboot2_header(tag2(5, 80, 25, 0, optional=True)), VideoMode(1024, 768, 32)),
        (multiboot2_header(tag2(5, 640, 480, 24)), VideoMode(640, 480, 24)),
        (multiboot2_header(tag2(5, 640, 480, 16)), VideoMode(640, 480, 16)),
        (multiboot2_header(tag2(5, 64000, 48000, 32)), VideoMode(1024, 768, 32)),
        (video1(0, 800, 600, 32), VideoMode(800, 600, 32)),
        (video1(0, 0, 0, 0), VideoMode(1024, 768, 32)),
    ],
    ids=lambda value: None if isinstance(value, bytes) else "x".join(map(str, value)),
)
def test_a_kernel_that_wants_to_draw_has_a_framebuffer_and_its_picture(header: bytes, mode: VideoMode) -> None:
    size = mode.depth // 8
    last = mode.pitch * mode.height - size
    pixels = {4: 0x112233, 3: 0x33, 2: 0xFFFF}
    stored = 1 if size == 3 else size
    text = draw(0, pixels[size], stored) + draw(last, pixels[size], stored)
    _, picture = shown(header, text)
    assert (picture.width, picture.height) == (mode.width, mode.height)
    expected = {4: b"\x11\x22\x33", 3: b"\x00\x00\x33", 2: WHITE}[size]
    assert picture.at(0, 0) == picture.at(mode.width - 1, mode.height - 1) == expected
    assert picture.at(1, 0) == picture.at(mode.width - 2, mode.height - 1) == BLACK


def test_channels_of_16_bits_fill_a_byte() -> None:
    text = draw(0, 0xF800, 2) + draw(2, 0x07E0, 2) + draw(4, 0x001F, 2) + draw(6, 0x8410, 2)
    _, picture = shown(multiboot2_header(tag2(5, 640, 480, 16)), text)
    assert [picture.at(x, 0) for x in range(4)] == [b"\xff\0\0", b"\0\xff\0", b"\0\0\xff", b"\x84\x82\x84"]


def test_drawing_loads_the_pages_that_are_drawn_on_and_no_others() -> None:
    report, _ = shown(multiboot2_header(tag2(5, 1024, 768, 32)), draw(0, 1) + draw(0x10_0000, 1))
    bare, _ = shown(multiboot2_header(tag2(5, 1024, 768, 32)), b"")
    assert report.pages_loaded - bare.pages_loaded == 2
    assert report.unanswered is None


def put(cell: int, character: int, colours: int) -> bytes:
    return b"\x66\xc7\x05" + struct.pack("<IBB", 0xB8000 + 2 * cell, character, colours)


@pytest.mark.parametrize("header", [multiboot1_header(), video1(1, 80, 25, 0), multiboot2_header(tag2(5, 800, 600, 32))])
def test_a_kernel_that_writes_text_has_a_picture_of_that(header: bytes) -> None:
    report, picture = shown(header, put(0, ord("A"), 0x07) + put(81, 0xDB, 0x1F) + put(82, ord(" "), 0x1F))
    assert (picture.width, picture.height) == (640, 400)
    assert report.screen.startswith("A")
    rows = [sum((0x80 >> x) * (pixel == GREY) for x, pixel in enumerate(row)) for row in picture.cell(0, 0)]
    assert tuple(rows) == glyph(ord("A"))
    assert picture.cell(1, 1) == [[WHITE] * 8] * 16
    assert picture.cell(2, 1) == [[BLUE] * 8] * 16
    assert picture.cell(5, 5) == [[BLACK] * 8] * 16


def test_every_printable_character_looks_different_and_fits_its_cell() -> None:
    glyphs = [glyph(character) for character in range(0x21, 0x7F)]
    assert len(set(glyphs)) == len(glyphs)
    assert all(0 <= row < 0x100 for character in range(0x100) for row in glyph(character))
    assert glyph(0x20) == (0,) * 16


def test_lines_meet_at_the_edges_of_their_cells() -> None:
    horizontal, vertical, cross = glyph(0xC4), glyph(0xB3), glyph(0xC5)
    assert 0xFF in horizontal
    assert all(vertical)
    assert cross == tuple(first | second for first, second in zip(horizontal, vertical, strict=True))


def test_the_command_line_writes_the_picture(tmp_path: Path) -> None:
    image, file = tmp_path / "kernel", tmp_path / "screen.png"
    image.write_bytes(kernel(multiboot1_header(), put(0, ord("A"), 0x07)))
    assert main([str(image), "--screenshot", str(file)]) == 0
    assert Picture(file.read_bytes()).width == 640


def test_a_picture_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["mb1", "--screenshot", str(tmp_path / "nowhere" / "screen.png")]) == 2
    assert capfd.readouterr().err.startswith(f"kev: {tmp_path / 'nowhere' / 'screen.png'}: there is no folder")


def registers(*writes: tuple[int, int, int]) -> bytes:
    """Writes to indexed registers: port, index and value."""
    # mov edx, port; mov eax, value << 8 | index; out dx, ax
    return b"".join(struct.pack("<BIBI", 0xBA, port, 0xB8, value << 8 | index) + b"\x66\xef" for port, index, value in writes)


def test_a_picture_of_256_colours_needs_no_bios(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The registers as drivers set them, colour 1 as they like it, and a page that begins at 0x140 times 4."""
    mode = registers((0x3C4, 4, 0x0E), (0x3CE, 5, 0x40), (0x3CE, 6, 5), (0x3D4, 9, 0x41), (0x3D4, 0x0D, 0x40), (0x3D4, 0x0C, 1))
    colour = b"".join(struct.pack("<BIB", 0xBA, port, 0xB0) + bytes((value, 0xEE)) for port, value in
                      ((0x3C8, 1), (0x3C9, 63), (0x3C9, 32), (0x3C9, 0)))  # fmt: skip
    dot = b"\xc6\x05" + struct.pack("<IB", 0xA0000 + 1280 + 321, 1)  # mov byte [...], 1
    image, file = tmp_path / "kernel", tmp_path / "screen.png"
    image.write_bytes(kernel(multiboot1_header(), mode + colour + dot))
    assert main([str(image)]) == 0
    assert "--screenshot FILE.png makes a picture of it" in capfd.readouterr().err
    assert main([str(image), "--screenshot", str(file)]) == 0
    picture = Picture(file.read_bytes())
    assert (picture.width, picture.height) == (320, 200)
    assert (picture.at(1, 1), picture.at(0, 0)) == (b"\xff\x82\x00", BLACK)


def test_who_sees_nothing_of_a_guest_that_draws_is_told_how_to(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "kernel"
    image.write_bytes(kernel(multiboot2_header(tag2(5, 800, 600, 32)), draw(0, 1)))
    assert main([str(image)]) == 0
    assert "--screenshot FILE.png makes a picture of it" in capfd.readouterr().err
    assert main([str(image), "--screenshot", str(tmp_path / "screen.png")]) == 0
    assert "picture" not in capfd.readouterr().err
