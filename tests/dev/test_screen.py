"""What a guest that only knows the VGA's text memory leaves on its screen."""

from pathlib import Path

import pytest
from click.testing import CliRunner

import kev
from kev.cli.main import kev as command
from tests.machine.code import code

TO_TEXT_MEMORY = code("b8 00 b8  8e d8")  # mov ax, 0xb800; mov ds, ax
EXIT = code("b0 00  e6 f4")  # mov al, 0; out 0xf4, al


def put(row: int, column: int, character: int) -> bytes:
    """mov word ptr [offset], character and colours"""
    offset = 2 * (80 * row + column)
    return code("c7 06") + offset.to_bytes(2, "little") + bytes((character, 0x07))


def scroll_to(start: int) -> bytes:
    """mov dx, 0x3d4; mov ax, register and value; out dx, ax; for both halves of the start address"""
    halves = ((0x0C, start >> 8), (0x0D, start & 0xFF))
    return code("ba d4 03") + b"".join(code("b8") + bytes(half) + code("ef") for half in halves)


def boot_sector(folder: Path, *instructions: bytes) -> Path:
    image = folder / "sector"
    image.write_bytes(b"".join((TO_TEXT_MEMORY, *instructions, EXIT)).ljust(510, b"\0") + code("55 aa"))
    return image


def test_the_screen_is_in_the_report_without_what_is_empty(tmp_path: Path) -> None:
    sector = boot_sector(tmp_path, put(0, 0, ord("a")), put(0, 2, ord("b")), put(0, 3, ord(" ")), put(2, 79, ord("c")))
    report = kev.launch(sector)
    assert (report.exit_code, report.output) == (0, b"")
    assert report.screen == "a b\n\n" + 79 * " " + "c"


def test_characters_are_those_of_code_page_437(tmp_path: Path) -> None:
    characters = (0x01, 0x7F, 0xC9, 0xE1, 0x00, 0xFE)
    sector = boot_sector(tmp_path, *(put(0, column, character) for column, character in enumerate(characters)))
    assert kev.launch(sector).screen == "☺⌂╔ß ■"


def test_the_screen_begins_where_the_start_address_says_and_wraps_around(tmp_path: Path) -> None:
    sector = boot_sector(tmp_path, put(0, 0, ord("a")), put(1, 0, ord("b")), put(25, 0, ord("z")), scroll_to(80))
    assert kev.launch(sector).screen == "b" + 24 * "\n" + "z"
    last_row = 16 * 1024 - 80
    assert kev.launch(boot_sector(tmp_path, put(0, 0, ord("a")), scroll_to(last_row))).screen == "\na"


def test_a_screen_that_nobody_wrote_to_is_empty_and_loads_nothing(tmp_path: Path) -> None:
    report = kev.launch(boot_sector(tmp_path))
    assert report.screen == ""
    assert report.pages_loaded == kev.launch(boot_sector(tmp_path, scroll_to(80))).pages_loaded


@pytest.mark.parametrize(("also", "printed"), [(b"", "hi\n"), (code("ba f8 03  b0 73  ee"), "s"), (code("b0 64  e6 e9"), "d")])
def test_the_screen_is_printed_if_nothing_came_by_serial_line_or_debug_console(tmp_path: Path, also: bytes, printed: str) -> None:
    sector = boot_sector(tmp_path, put(0, 0, ord("h")), put(0, 1, ord("i")), also)
    result = CliRunner().invoke(command, ["run", str(sector)], prog_name="kev")
    assert (result.exit_code, result.stdout) == (0, printed)
