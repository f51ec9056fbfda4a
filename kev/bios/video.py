"""INT 10h: the screen in text and in graphics modes (IBM PC/AT technical reference; IBM VGA technical reference)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from kev.addressing import Gpa
from kev.bios.call import BiosCall, NotServed, Service
from kev.bios.data_area import Address, DataArea
from kev.bios.paper import Paper
from kev.bios.teleprinter import Teleprinter
from kev.bios.vbe import Vbe
from kev.dev.base import GuestMemory
from kev.dev.buses.ports import PortBus
from kev.dev.display.screen import COLUMNS, CRT_INDEX, MOST_ROWS, ROWS, TEXT_MEMORY, VgaScreen, as_shown

if TYPE_CHECKING:
    from kev.bios.colours import Colours
    from kev.bios.graphics import Graphics

_PAGES: Final = 8
_GRAPHICS_MODES: Final = frozenset((0x04, 0x05, 0x06, 0x0D, 0x0E, 0x10, 0x11, 0x12, 0x13))
_MONOCHROME_MODE: Final = 7
_COLOUR_MODE: Final = 3
_KEEPS_MEMORY: Final = 0x80
_GREY_ON_BLACK: Final = 0x07
_BLANK: Final = bytes((0x20, _GREY_ON_BLACK))
_FILLED: Final = 0xDB
"""A character that is nothing but its colour."""
_GRAPHICS_SET: Final = 0x20
_TEXT_SET: Final = 0x30
"""What AL says after a mode is set."""

_LONGEST_STRING: Final = 4000
"""Characters: the call is one exit, during which nobody looks at the time."""

_BEL: Final = 0x07
_BS: Final = 0x08
_LF: Final = 0x0A
_CR: Final = 0x0D

_CURSOR_HIGH: Final = 0x0E
_CURSOR_LOW: Final = 0x0F

_VGA_COLOUR: Final = 8
"""INT 10h, AX = 1A00h: an analog colour display."""
_COLOUR_AND_256_KIB: Final = 0x0003
"""INT 10h, AH = 12h, BL = 10h: colour, and all of the memory."""


class Video:
    """The screen is guest memory, and the cursor's place is in the BIOS data area. What is shown is printed on the console, too."""

    def __init__(
        self,
        memory: GuestMemory,
        data: DataArea,
        ports: PortBus,
        paper: Paper,
        screen: VgaScreen,
        print_bytes: Callable[[bytes], object],
    ) -> None:
        self._memory: Final = memory
        self._data: Final = data
        self._ports: Final = ports
        self._paper: Final = paper
        self._teleprinter: Final = Teleprinter(paper, print_bytes, self._row_shown)
        self._screen: Final = screen
        self._pictures: Final[dict[int, Graphics]] = {}
        """By mode."""
        self._vbe: Final = Vbe(ports, self._set_mode)
        self.functions: Final[dict[int, Service]] = {
            0x00: self._set_mode,
            0x01: self._set_cursor_shape,
            0x02: self._set_cursor,
            0x03: self._read_cursor,
            0x05: self._do_nothing,  # select the page: there is one
            0x06: self._scroll_up,
            0x07: self._scroll_down,
            0x08: self._read_character,
            0x09: self._write_characters,
            0x0A: self._write_characters,
            0x0B: lambda call: self._colours.set_cga(call),
            0x0C: self._put_pixel,
            0x0D: self._get_pixel,
            0x0E: self._teletype,
            0x0F: self._read_mode,
            0x10: lambda call: self._colours.serve(call),
            0x11: self._serve_fonts,
            0x12: self._alternate_select,
            0x13: self._write_string,
            0x1A: self._display_combination,
            0x4F: self._vbe.serve,
        }
        """By AH."""

    # The screen

    def _set_mode(self, call: BiosCall) -> None:
        from kev.bios.video_modes import find_mode, program

        number = call.al & ~_KEEPS_MEMORY
        mode = find_mode(number)
        if mode is None:
            raise NotServed(f"video mode {number:02x}h")
        clears = not call.al & _KEEPS_MEMORY
        self._vbe.leave()
        program(mode, self._ports, self._screen)
        if self._screen.video_memory is not None and not mode.is_graphics:
            self._screen.video_memory.clear()
        if clears and mode.is_graphics:
            from kev.bios.graphics import canvas_of

            canvas_of(mode, self._memory, self._screen).clear()
        for address, value, size in (
            (Address.COLUMNS, mode.columns, 2),
            (Address.VIDEO_MODE, _COLOUR_MODE if number == _MONOCHROME_MODE else number, 1),
            (Address.LAST_ROW, mode.rows - 1, 1),
            (Address.CHARACTER_HEIGHT, mode.height, 2),
        ):
            self._data.write(address, value, size)
        if clears:
            self._store_cells(0, 0, _BLANK * (mode.rows * mode.columns))
            self._teleprinter.clear()
        self._move_cursor(0, 0, 0)
        call.al = _GRAPHICS_SET if mode.is_graphics else _TEXT_SET

    @property
    def _columns(self) -> int:
        return min(self._data.read(Address.COLUMNS, 2), COLUMNS) or COLUMNS

    @property
    def _rows(self) -> int:
        last = self._data.read(Address.LAST_ROW)
        return last + 1 if 0 < last < MOST_ROWS else ROWS

    @property
    def _is_graphics(self) -> bool:
        return self._data.read(Address.VIDEO_MODE) in _GRAPHICS_MODES

    @property
    def _graphics(self) -> "Graphics":
        """In graphics modes."""
        from kev.bios.graphics import Graphics, canvas_of
        from kev.bios.video_modes import find_mode

        number = self._data.read(Address.VIDEO_MODE)
        found = self._pictures.get(number)
        if found is None:
            mode = find_mode(number)
            assert mode is not None
            found = self._pictures[number] = Graphics(mode, canvas_of(mode, self._memory, self._screen))
        return found

    def _read_mode(self, call: BiosCall) -> None:
        call.al = self._data.read(Address.VIDEO_MODE)
        call.ah, call.bh = self._columns, 0

    def _scroll_up(self, call: BiosCall) -> None:
        self._scroll_window(call, up=True)

    def _scroll_down(self, call: BiosCall) -> None:
        self._scroll_window(call, up=False)

    def _scroll_window(self, call: BiosCall, *, up: bool) -> None:
        top, left, columns = call.ch, call.cl, self._columns
        rows = self._rows
        bottom, right = min(call.dh, rows - 1), min(call.dl, columns - 1)
        if top > bottom or left > right:
            return
        height, width = bottom - top + 1, right - left + 1
        lines = call.al if 0 < call.al <= height else height
        there = [self._read_cells(row, left, width) for row in range(top, bottom + 1)]
        blank = [bytes((_FILLED if call.bh and self._is_graphics else 0x20, call.bh)) * width] * lines
        kept = there[lines:] if up else there[: height - lines]
        for row, cells in enumerate(kept + blank if up else blank + kept, top):
            self._write_cells(row, left, cells)
        if width == columns and height >= rows - 1:
            if lines == height:
                self._teleprinter.clear()
            elif up:
                self._teleprinter.scroll(lines)

    # The cursor

    def _set_cursor_shape(self, call: BiosCall) -> None:
        self._data.write(Address.CURSOR_SHAPE, call.cx, 2)

    def _set_cursor(self, call: BiosCall) -> None:
        if call.bh < _PAGES:
            self._move_cursor(call.bh, call.dh, call.dl)

    def _read_cursor(self, call: BiosCall) -> None:
        row, column = self._cursor(call.bh)
        shape = self._data.read(Address.CURSOR_SHAPE, 2)
        call.dh, call.dl, call.cx, call.ax = row, column, shape, 0

    def _cursor(self, page: int = 0) -> tuple[int, int]:
        return divmod(self._data.read(Address.CURSOR + 2 * (page % _PAGES), 2), 0x100)

    def _move_cursor(self, page: int, row: int, column: int) -> None:
        self._data.write(Address.CURSOR + 2 * page, row << 8 | column, 2)
        if page == 0:
            place = row * self._columns + column & 0xFFFF
            for index, byte in ((_CURSOR_HIGH, place >> 8), (_CURSOR_LOW, place & 0xFF)):
                self._ports.write(CRT_INDEX, 1, index)
                self._ports.write(CRT_INDEX + 1, 1, byte)

    # Characters

    def _read_character(self, call: BiosCall) -> None:
        row, column = self._cursor()
        character, attribute = self._read_cells(min(row, self._rows - 1), column % self._columns, 1)
        call.al, call.ah = character, attribute

    def _write_characters(self, call: BiosCall) -> None:
        """AH = 09h, with the attribute in BL, or 0Ah; the cursor stays."""
        (row, column), columns, is_graphics = self._cursor(), self._columns, self._is_graphics
        if (call.bh and not is_graphics) or row >= self._rows or column >= columns:
            return
        count = min(call.cx, (self._rows - row) * columns - column)
        if call.ah == 0x09 or is_graphics:
            cells = bytes((call.al, call.bl)) * count
        else:
            attributes = self._read_cells(row, column, count)[1::2]
            cells = b"".join(bytes((call.al, attribute)) for attribute in attributes)
        self._write_cells(row, column, cells)
        self._teleprinter.fill(row, column, as_shown(bytes((call.al,)) * min(count, columns - column)))

    def _teletype(self, call: BiosCall) -> None:
        self._type(call.al, call.bl if self._is_graphics else None)

    def _type(self, byte: int, attribute: int | None) -> None:
        """Puts a character where the cursor is, or does what a control character says."""
        row, column = self._cursor()
        if byte == _BEL:
            return
        if byte == _BS:
            self._move_cursor(0, row, max(column - 1, 0))
        elif byte == _CR:
            self._move_cursor(0, row, 0)
        elif byte == _LF:
            self._go_down(row, column)
        else:
            self._put(min(row, self._rows - 1), min(column, self._columns - 1), byte, attribute)

    def _put(self, row: int, column: int, byte: int, attribute: int | None) -> None:
        if attribute is None:
            attribute = self._read_cells(row, column, 1)[1] or _GREY_ON_BLACK
        self._write_cells(row, column, bytes((byte, attribute)))
        self._teleprinter.type(row, column, as_shown(bytes((byte,))))
        if column + 1 < self._columns:
            self._move_cursor(0, row, column + 1)
        else:
            self._go_down(row, 0)

    def _go_down(self, row: int, column: int) -> None:
        """One row down, in the same column; the last row makes room."""
        self._teleprinter.end_line(row)
        if row < self._rows - 1:
            self._move_cursor(0, row + 1, column)
            return
        columns = self._columns
        rest = self._read_cells(1, 0, (self._rows - 1) * columns)
        if self._is_graphics:
            self._graphics.scroll(self._rows)
        self._store_cells(0, 0, rest + _BLANK * columns)
        self._teleprinter.scroll(1)
        self._move_cursor(0, self._rows - 1, column)

    def _write_string(self, call: BiosCall) -> None:
        """AL bit 0: the cursor moves; bit 1: attributes are in the string, of which up to two screens are written."""
        with_attributes, moves = bool(call.al & 2), bool(call.al & 1)
        data = call.read("es", call.bp, min(call.cx, _LONGEST_STRING) * (2 if with_attributes else 1))
        before = self._cursor()
        self._move_cursor(0, call.dh, call.dl)
        if with_attributes:
            for byte, attribute in zip(data[::2], data[1::2], strict=True):
                self._type(byte, attribute)
        else:
            for byte in data:
                self._type(byte, call.bl)
        if not moves:
            self._move_cursor(0, *before)

    # What there is

    def _do_nothing(self, call: BiosCall) -> None:
        pass

    @property
    def _colours(self) -> "Colours":
        from kev.bios.colours import Colours

        return Colours(self._ports, self._screen)

    def _serve_fonts(self, call: BiosCall) -> None:
        from kev.bios.fonts import Fonts

        Fonts(self._data, self._ports, self._screen).serve(call)

    def _alternate_select(self, call: BiosCall) -> None:
        if call.bl == 0x10:
            call.bx, call.cx = _COLOUR_AND_256_KIB, 0
        call.al = 0x12

    def _display_combination(self, call: BiosCall) -> None:
        if call.al == 0:
            call.bx = _VGA_COLOUR
        call.al = 0x1A

    # Pixels

    def _put_pixel(self, call: BiosCall) -> None:
        self._check_graphics()
        self._graphics.put_pixel(call.cx, call.dx, call.al)

    def _get_pixel(self, call: BiosCall) -> None:
        self._check_graphics()
        call.al = self._graphics.get_pixel(call.cx, call.dx)

    def _check_graphics(self) -> None:
        if not self._is_graphics:
            raise NotServed("pixels in a text mode")

    # Memory: in graphics modes, too, that of the text screen holds the characters that have been drawn.

    def _read_cells(self, row: int, column: int, count: int) -> bytes:
        return self._memory.read(self._cell(row, column), 2 * count)

    def _write_cells(self, row: int, column: int, cells: bytes) -> None:
        if self._is_graphics:
            self._graphics.draw(row, column, cells)
        self._store_cells(row, column, cells)

    def _store_cells(self, row: int, column: int, cells: bytes) -> None:
        place = self._cell(row, column)
        self._memory.write(place, cells)
        start = place - self._first_cell
        self._paper.printed[start : start + len(cells)] = cells

    def _cell(self, row: int, column: int) -> Gpa:
        return Gpa(self._first_cell + 2 * (row * self._columns + column))

    @property
    def _first_cell(self) -> int:
        return TEXT_MEMORY.start + self._screen.text_offset

    def _row_shown(self, row: int, columns: int) -> str:
        return as_shown(self._read_cells(min(row, self._rows - 1), 0, min(columns, self._columns))[::2])
