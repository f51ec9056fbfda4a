"""The PC's keyboard controller (Intel 8042) with a keyboard, and a mouse that nobody touches.

Kernels use it to read keys, to enable address line 20, which is never disabled here, and to reset the machine. Keys come from the
host, if its user wants that: one byte after the other, and none while a driver programs the controller or the keyboard,
which would take it for an answer.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Self

from kev.clock import TIMER, Clock, Timer, TimerQueue
from kev.dev.base import InterruptLine, PlainDevice
from kev.dev.surroundings import Surroundings
from kev.state import FLAG, NUMBERS, TIME, Fields, State, bits, converted, integers, listed, optional
from kev.subscribers import Subscribers

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
_DISABLE_MOUSE: Final = 0xA7
_ENABLE_MOUSE: Final = 0xA8
_TEST_MOUSE_PORT: Final = 0xA9
_SELF_TEST: Final = 0xAA
_TEST_KEYBOARD_PORT: Final = 0xAB
_DISABLE_KEYBOARD: Final = 0xAD
_ENABLE_KEYBOARD: Final = 0xAE
_READ_INPUT_PORT: Final = 0xC0
_READ_OUTPUT_PORT: Final = 0xD0
_WRITE_OUTPUT_PORT: Final = 0xD1
_ANSWER_AS_KEYBOARD: Final = 0xD2
_ANSWER_AS_MOUSE: Final = 0xD3
_WRITE_TO_MOUSE: Final = 0xD4
_PULSE_OUTPUT_PORT: Final = 0xF0

_TAKE_A_BYTE: Final = (_WRITE_COMMAND_BYTE, _WRITE_OUTPUT_PORT, _ANSWER_AS_KEYBOARD, _ANSWER_AS_MOUSE, _WRITE_TO_MOUSE)
_NOT_INHIBITED: Final = 0x80
"""The input port: the lock on the case is open."""
_REPLIES: Final = {_SELF_TEST: 0x55, _TEST_KEYBOARD_PORT: 0x00, _TEST_MOUSE_PORT: 0x00, _READ_INPUT_PORT: _NOT_INHIBITED}

# Command byte
_KEYBOARD_INTERRUPT: Final = 1 << 0
_MOUSE_INTERRUPT: Final = 1 << 1
_KEYBOARD_DISABLED: Final = 1 << 4
_MOUSE_DISABLED: Final = 1 << 5
_TRANSLATION: Final = 1 << 6
_SWITCHES: Final = {
    _DISABLE_MOUSE: (_MOUSE_DISABLED, 0),
    _ENABLE_MOUSE: (0, _MOUSE_DISABLED),
    _DISABLE_KEYBOARD: (_KEYBOARD_DISABLED, 0),
    _ENABLE_KEYBOARD: (0, _KEYBOARD_DISABLED),
}
"""Commands that set a bit of it, or clear one."""
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
_START_SCANNING: Final = 0xF4
_STOP_SCANNING: Final = 0xF5
_SET_DEFAULTS: Final = 0xF6
_RESET: Final = 0xFF
_KEYBOARD_TAKES_A_BYTE: Final = (_SET_LIGHTS, _SELECT_SCAN_CODES, _SET_REPETITION)
_FIRST_KEYBOARD_COMMAND: Final = 0xED
"""A byte from here on is a command, whatever the keyboard waits for."""
_SCAN_CODE_SET: Final = 2
"""Of a keyboard that was reset; its keys are translated to set 1, unless the command byte says otherwise."""
_SCAN_CODE_SETS: Final = range(1, 4)
_RELEASED: Final = 0x80
"""Of a scan code of set 1; the byte in front of extended ones has it, too."""
_MOUSE_REPLIES: Final = {0xE9: b"\x00\x02\x64", 0xEB: b"\x00\x00\x00", 0xF2: b"\x00", 0xFF: b"\xaa\x00"}
_MOUSE_TAKES_A_BYTE: Final = (0xE8, 0xF3)
"""Set the resolution, set the sample rate."""

_FROM_MOUSE: Final = 0x100
"""Marks what is in the output buffer."""
_OUTPUT_DEPTH: Final = 16
"""Replies that nobody reads are lost, the oldest first."""
_KEY_NANOSECONDS: Final = 100_000
"""How long a byte takes: a tenth of what it does on a wire, for guests that poll in virtual time."""
_HELD_NANOSECONDS: Final = 50_000_000
"""How long a key that no other one follows is held down, as by a finger: games look from time to time which keys are."""
_QUIET_NANOSECONDS: Final = 1_000_000
"""How long no key comes after the guest has sent something."""
_UNNOTICED_NANOSECONDS: Final = 1_000_000_000
"""How long no key comes while the guest has not looked for a keyboard: one that waits for interrupts never does."""


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
            "_last_byte": bits(8),
            "_output_port": bits(8),
            "_keys": NUMBERS,
            "_scan_code_set": integers(1, 3),
            "_is_scanning": FLAG,
            "_was_accessed": FLAG,
            "_quiet_until": TIME,
        },
        timer=TIMER,
    )

    __slots__ = (
        "_awaits_byte",
        "_clock",
        "_command_byte",
        "_is_scanning",
        "_keyboard_awaits",
        "_keyboard_interrupt",
        "_keys",
        "_last_byte",
        "_last_was_command",
        "_mouse_awaits",
        "_mouse_interrupt",
        "_output",
        "_output_port",
        "_quiet_until",
        "_reset_machine",
        "_scan_code_set",
        "_timer",
        "_timers",
        "_was_accessed",
        "looks",
        "taken",
    )

    def __init__(
        self,
        clock: Clock,
        timers: TimerQueue,
        keyboard_interrupt: InterruptLine,
        mouse_interrupt: InterruptLine,
        reset_machine: Callable[[], None],
    ) -> None:
        """`reset_machine` is called when the guest does that."""
        self.taken: Final[Subscribers[[]]] = Subscribers()
        """Are told when the guest has been sent some of the keys."""
        self.looks = 0
        """How often the guest has read the status, or data."""
        self._clock = clock
        self._timers = timers
        self._timer: Timer | None = None
        self._keyboard_interrupt = keyboard_interrupt
        self._mouse_interrupt = mouse_interrupt
        self._reset_machine = reset_machine
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        interrupts = machine.line(_KEYBOARD_IRQ), machine.line(_MOUSE_IRQ)
        return cls(machine.clock, machine.timers, *interrupts, machine.reset)

    def reset(self) -> None:
        self._output = _output([])
        self._last_byte = 0
        """What the data port reads as while nothing new is there: programs look at the last key there, behind the BIOS's back."""
        self._command_byte = _COMMAND_BYTE_AT_RESET
        self._output_port = _NO_RESET | _ADDRESS_LINE_20
        self._awaits_byte: int | None = None
        """The command that takes the next byte at the data port."""
        self._keyboard_awaits: int | None = None
        """The keyboard's command that takes the next byte which it is sent."""
        self._mouse_awaits = False
        self._last_was_command = False
        self._keys: deque[int] = deque()
        """Scan codes of set 1 that the guest has not been sent yet."""
        self._scan_code_set = _SCAN_CODE_SET
        self._is_scanning = True
        self._was_accessed = False
        self._quiet_until = 0
        self._stop_timer()
        self._update_interrupts()

    def save(self) -> State:
        return self.FIELDS.save(self, timer=self._timer)

    def load(self, state: State) -> None:
        self._stop_timer()
        timer = self.FIELDS.load(self, self.name, state)["timer"]
        self._timer = self._timers.restore(timer, self._send_key)
        self._update_interrupts()

    def read_port(self, port: int, size: int) -> int:
        self._was_accessed = True
        self.looks += 1
        value = self._status() if port == _COMMAND else self._read_data()
        self._expect_key()
        return value

    def write_port(self, port: int, size: int, value: int) -> None:
        self._write(port, value)
        self._was_accessed = True
        self._quiet_until = self._clock.now() + _QUIET_NANOSECONDS
        self._stop_timer()
        self._expect_key()

    def _write(self, port: int, value: int) -> None:
        self._last_was_command = port == _COMMAND
        if port == _COMMAND:
            self._execute(value)
        elif self._awaits_byte is not None:
            command, self._awaits_byte = self._awaits_byte, None
            self._execute_with(command, value)
        else:
            self._command_byte &= ~_KEYBOARD_DISABLED
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
            return self._last_byte
        byte = self._last_byte = self._output.popleft() & 0xFF
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

    # Keys

    def receive(self, data: bytes) -> None:
        """Somebody types `data`, as a terminal sends it: any amount of it."""
        from kev.dev.chipset.keys import strokes

        self.press(strokes(data))

    def press(self, codes: Iterable[int]) -> None:
        """Somebody presses and releases keys: scan codes of set 1 (`kev.dev.chipset.keys`)."""
        self._keys.extend(codes)
        self._stop_timer()  # what is held may wait no longer
        self._expect_key()

    @property
    def backlog(self) -> int:
        """How many scan codes the guest has not been sent yet."""
        return len(self._keys)

    def _expect_key(self) -> None:
        """Sets the timer for the next key, if one can come."""
        if self._timer is None and self._keys and not self._output and self._may_send:
            now = self._clock.now()
            earliest = self._quiet_until if self._was_accessed else _UNNOTICED_NANOSECONDS
            interval = _HELD_NANOSECONDS if self._holds else _KEY_NANOSECONDS
            self._timer = self._timers.at(max(now + interval, earliest), self._send_key)

    @property
    def _holds(self) -> bool:
        """A key is down, and releases are all that follows."""
        return not self._last_byte & _RELEASED and all(code & _RELEASED for code in self._keys)

    @property
    def _may_send(self) -> bool:
        return self._is_scanning and not self._command_byte & _KEYBOARD_DISABLED

    def _send_key(self) -> None:
        self._timer = None
        if not self._keys or self._output or not self._may_send:
            return
        code = self._keys.popleft()
        if self._scan_code_set == 1 or self._command_byte & _TRANSLATION:
            self._reply(bytes((code,)))
        else:
            from kev.dev.chipset.keys import in_set_2

            self._reply(bytes(in_set_2(code)))
        self.taken()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timers.cancel(self._timer)
            self._timer = None

    # The controller

    def _execute(self, command: int) -> None:
        self._awaits_byte = None
        if command in _TAKE_A_BYTE:
            self._awaits_byte = command
        elif command in _REPLIES:
            self._reply(bytes((_REPLIES[command],)))
        elif command in _SWITCHES:
            on, off = _SWITCHES[command]
            self._command_byte = self._command_byte & ~off | on
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
            self._command_byte &= ~_MOUSE_DISABLED
            self._reply(self._ask_mouse(value), _FROM_MOUSE)
        elif command == _ANSWER_AS_MOUSE:
            self._reply(bytes((value,)), _FROM_MOUSE)
        elif command == _ANSWER_AS_KEYBOARD:
            self._reply(bytes((value,)))
        else:
            self._output_port = value
            if not value & _NO_RESET:
                self._reset_machine()

    # What is connected to it

    def _ask_keyboard(self, value: int) -> bytes:
        """What the keyboard answers when it is sent `value`."""
        command, self._keyboard_awaits = self._keyboard_awaits, None
        if command is not None and value < _FIRST_KEYBOARD_COMMAND:
            if command != _SELECT_SCAN_CODES:
                return bytes((_ACKNOWLEDGE,))
            if value in _SCAN_CODE_SETS:
                self._scan_code_set = value
            return bytes((_ACKNOWLEDGE, self._scan_code_set) if value == 0 else (_ACKNOWLEDGE,))
        if value in (_SET_DEFAULTS, _RESET):
            self._scan_code_set = _SCAN_CODE_SET
        if value in (_START_SCANNING, _SET_DEFAULTS, _RESET, _STOP_SCANNING):
            self._is_scanning = value != _STOP_SCANNING
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
