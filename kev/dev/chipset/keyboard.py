"""The PC's keyboard controller (Intel 8042) with a keyboard on which nobody types.

Kernels use it to find a keyboard, to enable address line 20, which is never disabled here, and to reset the machine.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from kev.dev.base import InterruptLine

_DATA: Final = 0x60
_COMMAND: Final = 0x64

# Status register
_OUTPUT_FULL: Final = 1 << 0
_SYSTEM_FLAG: Final = 1 << 2
_LAST_WAS_COMMAND: Final = 1 << 3
_NOT_LOCKED: Final = 1 << 4

# Commands to the controller; those that take a byte find it in the data port.
_READ_COMMAND_BYTE: Final = 0x20
_WRITE_COMMAND_BYTE: Final = 0x60
_TEST_MOUSE_PORT: Final = 0xA9
_SELF_TEST: Final = 0xAA
_TEST_KEYBOARD_PORT: Final = 0xAB
_READ_OUTPUT_PORT: Final = 0xD0
_WRITE_OUTPUT_PORT: Final = 0xD1
_WRITE_TO_MOUSE: Final = 0xD4
_PULSE_OUTPUT_PORT: Final = 0xF0

_TAKE_A_BYTE: Final = (_WRITE_COMMAND_BYTE, _WRITE_OUTPUT_PORT, _WRITE_TO_MOUSE)
_REPLIES: Final = {_SELF_TEST: 0x55, _TEST_KEYBOARD_PORT: 0x00, _TEST_MOUSE_PORT: 0x00}

# Command byte
_INTERRUPT_ENABLE: Final = 1 << 0
_COMMAND_BYTE_AT_RESET: Final = 0x45  # Translation, system flag, interrupt: as a BIOS leaves it.

# Output port
_NO_RESET: Final = 1 << 0
_ADDRESS_LINE_20: Final = 1 << 1

# The keyboard acknowledges whatever it is sent, and has something to add to two commands.
_ACKNOWLEDGE: Final = 0xFA
_ECHO: Final = 0xEE
_KEYBOARD_REPLIES: Final = {0xF2: b"\xab\x83", 0xFF: b"\xaa"}
_OUTPUT_DEPTH: Final = 16
"""Replies that nobody reads are lost, the oldest first."""


class KeyboardController:
    """The data port 0x60 and the command and status port 0x64."""

    ports: Final = (range(_DATA, _DATA + 1), range(_COMMAND, _COMMAND + 1))

    __slots__ = ("_awaits_byte", "_command_byte", "_interrupt", "_last_was_command", "_output", "_output_port", "_reset")

    def __init__(self, interrupt: InterruptLine, reset: Callable[[], None]) -> None:
        """`reset` is called when the guest resets the machine."""
        self._interrupt = interrupt
        self._reset = reset
        self._output: deque[int] = deque(maxlen=_OUTPUT_DEPTH)
        self._command_byte = _COMMAND_BYTE_AT_RESET
        self._output_port = _NO_RESET | _ADDRESS_LINE_20
        self._awaits_byte: int | None = None
        self._last_was_command = False

    def read_port(self, port: int, size: int) -> int:
        return self._status() if port == _COMMAND else self._read_data()

    def write_port(self, port: int, size: int, value: int) -> None:
        self._last_was_command = port == _COMMAND
        if port == _COMMAND:
            self._execute(value)
        elif self._awaits_byte is not None:
            command, self._awaits_byte = self._awaits_byte, None
            self._execute_with(command, value)
        else:
            self._reply(*([_ECHO] if value == _ECHO else [_ACKNOWLEDGE, *_KEYBOARD_REPLIES.get(value, b"")]))

    def _status(self) -> int:
        full = _OUTPUT_FULL if self._output else 0
        command = _LAST_WAS_COMMAND if self._last_was_command else 0
        return full | command | self._command_byte & _SYSTEM_FLAG | _NOT_LOCKED

    def _read_data(self) -> int:
        if not self._output:
            return 0
        byte = self._output.popleft()
        # Every byte interrupts on its own: the line falls between two of them.
        self._interrupt(False)
        self._update_interrupt()
        return byte

    def _reply(self, *replies: int) -> None:
        self._output.extend(replies)
        self._update_interrupt()

    def _update_interrupt(self) -> None:
        self._interrupt(bool(self._output and self._command_byte & _INTERRUPT_ENABLE))

    def _execute(self, command: int) -> None:
        self._awaits_byte = None
        if command in _TAKE_A_BYTE:
            self._awaits_byte = command
        elif command in _REPLIES:
            self._reply(_REPLIES[command])
        elif command == _READ_COMMAND_BYTE:
            self._reply(self._command_byte)
        elif command == _READ_OUTPUT_PORT:
            self._reply(self._output_port)
        elif command >= _PULSE_OUTPUT_PORT and not command & _NO_RESET:
            self._reset()

    def _execute_with(self, command: int, value: int) -> None:
        if command == _WRITE_COMMAND_BYTE:
            self._command_byte = value
            self._update_interrupt()
        elif command == _WRITE_OUTPUT_PORT:
            self._output_port = value
            if not value & _NO_RESET:
                self._reset()
