"""The PC's keyboard controller (Intel 8042) with a keyboard and a mouse that nobody touches.

Kernels use it to find a keyboard, to enable address line 20, which is never disabled here, and to reset the machine.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Self

from kev.dev.base import InterruptLine, PlainDevice
from kev.dev.surroundings import Surroundings
from kev.state import FLAG, Fields, State, bits, converted, listed, optional

_KEYBOARD_IRQ: Final = 1
_MOUSE_IRQ: Final = 12
_DATA: Final = 0x60
_COMMAND: Final = 0x64

# Status register
_OUTPUT_FULL: Final = 1 << 0
_SYSTEM_FLAG: Final = 1 << 2
_LAST_WAS_COMMAND: Final = 1 << 3
_NOT_LOCKED: Final = 1 << 4
_MOUSE_OUTPUT: Final = 1 << 5

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
_KEYBOARD_INTERRUPT: Final = 1 << 0
_MOUSE_INTERRUPT: Final = 1 << 1
_COMMAND_BYTE_AT_RESET: Final = 0x45  # Translation, system flag, interrupt: as a BIOS leaves it.

# Output port
_NO_RESET: Final = 1 << 0
_ADDRESS_LINE_20: Final = 1 << 1

# Keyboard and mouse acknowledge whatever they are sent, and have something to add to some commands.
_ACKNOWLEDGE: Final = 0xFA
_ECHO: Final = 0xEE
_KEYBOARD_REPLIES: Final = {0xF2: b"\xab\x83", 0xFF: b"\xaa"}
_SET_LIGHTS: Final = 0xED
_SELECT_SCAN_CODES: Final = 0xF0
_SET_REPETITION: Final = 0xF3
_KEYBOARD_TAKES_A_BYTE: Final = (_SET_LIGHTS, _SELECT_SCAN_CODES, _SET_REPETITION)
_FIRST_KEYBOARD_COMMAND: Final = 0xED
"""A byte from here on is a command, whatever the keyboard waits for."""
_SCAN_CODE_SET: Final = 2
_MOUSE_REPLIES: Final = {0xE9: b"\x00\x02\x64", 0xEB: b"\x00\x00\x00", 0xF2: b"\x00", 0xFF: b"\xaa\x00"}
_MOUSE_TAKES_A_BYTE: Final = (0xE8, 0xF3)
"""Set the resolution, set the sample rate."""

_FROM_MOUSE: Final = 0x100
"""Marks what is in the output buffer."""
_OUTPUT_DEPTH: Final = 16
"""Replies that nobody reads are lost, the oldest first."""


def _output(replies: list[int]) -> deque[int]:
    return deque(replies, maxlen=_OUTPUT_DEPTH)


class KeyboardController(PlainDevice):
    """The data port 0x60 and the command and status port 0x64."""

    name: Final = "keyboard controller"
    ports: Final = (range(_DATA, _DATA + 1), range(_COMMAND, _COMMAND + 1))

    FIELDS = Fields(
        {
            "_awaits_byte": optional(bits(8)),
            "_command_byte": bits(8),
            "_keyboard_awaits": optional(bits(8)),
            "_last_was_command": FLAG,
            "_mouse_awaits": FLAG,
            "_output": converted(listed(bits(9)), list, _output),
            "_output_port": bits(8),
        }
    )

    __slots__ = (
        "_awaits_byte",
        "_command_byte",
        "_keyboard_awaits",
        "_keyboard_interrupt",
        "_last_was_command",
        "_mouse_awaits",
        "_mouse_interrupt",
        "_output",
        "_output_port",
        "_reset_machine",
    )

    def __init__(
        self, keyboard_interrupt: InterruptLine, mouse_interrupt: InterruptLine, reset_machine: Callable[[], None]
    ) -> None:
        """`reset_machine` is called when the guest does that."""
        self._keyboard_interrupt = keyboard_interrupt
        self._mouse_interrupt = mouse_interrupt
        self._reset_machine = reset_machine
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.line(_KEYBOARD_IRQ), machine.line(_MOUSE_IRQ), lambda: machine.end(0))

    def reset(self) -> None:
        self._output = _output([])
        self._command_byte = _COMMAND_BYTE_AT_RESET
        self._output_port = _NO_RESET | _ADDRESS_LINE_20
        self._awaits_byte: int | None = None
        """The command that takes the next byte at the data port."""
        self._keyboard_awaits: int | None = None
        """The keyboard's command that takes the next byte which it is sent."""
        self._mouse_awaits = False
        self._last_was_command = False
        self._update_interrupts()

    def load(self, state: State) -> None:
        super().load(state)
        self._update_interrupts()

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
            self._reply(self._ask_keyboard(value))

    def _status(self) -> int:
        status = self._command_byte & _SYSTEM_FLAG | _NOT_LOCKED
        if self._last_was_command:
            status |= _LAST_WAS_COMMAND
        if self._output:
            status |= _OUTPUT_FULL | (_MOUSE_OUTPUT if self._output[0] & _FROM_MOUSE else 0)
        return status

    def _read_data(self) -> int:
        if not self._output:
            return 0
        byte = self._output.popleft() & 0xFF
        # Every byte interrupts on its own: the line falls between two of them.
        self._keyboard_interrupt(False)
        self._mouse_interrupt(False)
        self._update_interrupts()
        return byte

    def _reply(self, replies: bytes, source: int = 0) -> None:
        self._output.extend(source | byte for byte in replies)
        self._update_interrupts()

    def _update_interrupts(self) -> None:
        is_mouse = bool(self._output and self._output[0] & _FROM_MOUSE)
        self._keyboard_interrupt(bool(self._output and not is_mouse and self._command_byte & _KEYBOARD_INTERRUPT))
        self._mouse_interrupt(bool(is_mouse and self._command_byte & _MOUSE_INTERRUPT))

    # The controller

    def _execute(self, command: int) -> None:
        self._awaits_byte = None
        if command in _TAKE_A_BYTE:
            self._awaits_byte = command
        elif command in _REPLIES:
            self._reply(bytes((_REPLIES[command],)))
        elif command == _READ_COMMAND_BYTE:
            self._reply(bytes((self._command_byte,)))
        elif command == _READ_OUTPUT_PORT:
            self._reply(bytes((self._output_port,)))
        elif command >= _PULSE_OUTPUT_PORT and not command & _NO_RESET:
            self._reset_machine()

    def _execute_with(self, command: int, value: int) -> None:
        if command == _WRITE_COMMAND_BYTE:
            self._command_byte = value
            self._update_interrupts()
        elif command == _WRITE_TO_MOUSE:
            self._reply(self._ask_mouse(value), _FROM_MOUSE)
        else:
            self._output_port = value
            if not value & _NO_RESET:
                self._reset_machine()

    # What is connected to it

    def _ask_keyboard(self, value: int) -> bytes:
        """What the keyboard answers when it is sent `value`."""
        command, self._keyboard_awaits = self._keyboard_awaits, None
        if command is not None and value < _FIRST_KEYBOARD_COMMAND:
            asks_for_set = command == _SELECT_SCAN_CODES and value == 0
            return bytes((_ACKNOWLEDGE, _SCAN_CODE_SET) if asks_for_set else (_ACKNOWLEDGE,))
        if value in _KEYBOARD_TAKES_A_BYTE:
            self._keyboard_awaits = value
        return bytes((_ECHO,)) if value == _ECHO else bytes((_ACKNOWLEDGE,)) + _KEYBOARD_REPLIES.get(value, b"")

    def _ask_mouse(self, value: int) -> bytes:
        """What the mouse answers when it is sent `value`."""
        is_parameter, self._mouse_awaits = self._mouse_awaits, False
        if is_parameter:
            return bytes((_ACKNOWLEDGE,))
        self._mouse_awaits = value in _MOUSE_TAKES_A_BYTE
        return bytes((_ACKNOWLEDGE,)) + _MOUSE_REPLIES.get(value, b"")
