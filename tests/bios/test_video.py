"""INT 10h."""

import pytest

from kev.addressing import Gpa
from kev.machine.machine import Machine
from tests.bios.calls import interrupt, run, text
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


def test_there_is_no_vesa() -> None:
    assert run(interrupt(0x10, eax=0x4F00)).registers["rax"] & 0xFF != 0x4F


def test_a_graphics_mode_is_named_once() -> None:
    called = run(interrupt(0x10, eax=0x0013), interrupt(0x10, eax=0x0013))
    assert called.carry
    assert called.warnings == (
        "kev: INT 10h, AH = 00h (video mode 13h) at 0000:7c06: the BIOS does not serve it, and returned with CF = 1",
    )


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
