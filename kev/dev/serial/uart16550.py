"""A 16550A serial port (National Semiconductor PC16550D data sheet), whose line is the console.

Sending takes no time, so the transmitter is always empty. What the host sends is kept until the port can take it.
"""

from collections.abc import Callable
from typing import Final, Self

from kev.clock import Clock, TimerQueue
from kev.dev.base import InterruptLine
from kev.dev.serial.receiver import FIFO_DEPTH, SerialReceiver
from kev.dev.surroundings import Surroundings
from kev.state import FLAG, PART, Fields, State, bits, integers
from kev.subscribers import Subscribers

COM1: Final = 0x3F8
"""The first port of the PC's first serial port."""
_COM1_IRQ: Final = 4


# Plain numbers and not enumerations: a port access has less time than one operation on an IntFlag takes.


class UartRegister:
    """Offsets from the port's base."""

    DATA: Final = 0
    INTERRUPT_ENABLE: Final = 1
    INTERRUPT_IDENTIFICATION: Final = 2
    """Written, it is the FIFO control register."""
    LINE_CONTROL: Final = 3
    MODEM_CONTROL: Final = 4
    LINE_STATUS: Final = 5
    MODEM_STATUS: Final = 6
    SCRATCH: Final = 7


class InterruptEnable:
    """Bits of the interrupt enable register."""

    RECEIVED_DATA: Final = 1 << 0
    TRANSMITTER_EMPTY: Final = 1 << 1
    LINE_STATUS: Final = 1 << 2
    MODEM_STATUS: Final = 1 << 3


class InterruptIdentification:
    """The highest interrupt that is pending. The names are in falling priority, but for NONE."""

    NONE: Final = 0b0001
    LINE_STATUS: Final = 0b0110
    RECEIVED_DATA: Final = 0b0100
    CHARACTER_TIMEOUT: Final = 0b1100
    TRANSMITTER_EMPTY: Final = 0b0010
    MODEM_STATUS: Final = 0b0000


_FIFOS_ENABLED: Final = 0xC0

_FIFO_ENABLE: Final = 1 << 0
_FIFO_CLEAR_RECEIVER: Final = 1 << 1
_FIFO_TRIGGER_LEVELS: Final = (1, 4, 8, 14)

_DIVISOR_LATCH_ACCESS: Final = 1 << 7

_LOOPBACK: Final = 1 << 4
_MODEM_CONTROL_BITS: Final = 0x1F

_DATA_READY: Final = 1 << 0
_OVERRUN: Final = 1 << 1
_TRANSMITTER_IDLE: Final = 0x60
"""The holding register and the shift register are both empty."""

_MODEM_LINES_READY: Final = 0xB0
"""Carrier detected, data set ready, clear to send."""
_RING_INDICATOR: Final = 1 << 6


class SerialPort:
    """One serial port of eight registers."""

    __slots__ = (
        "_divisor",
        "_fifo_enabled",
        "_interrupt",
        "_interrupt_asserted",
        "_interrupt_enable",
        "_line_control",
        "_line_status",
        "_modem_control",
        "_modem_status",
        "_receiver",
        "_scratch",
        "_sends_at_once",
        "_transmit",
        "_transmitter_empty_pending",
        "_trigger_level",
        "looks",
        "name",
        "ports",
    )

    _FIELDS: Final = Fields(
        {
            "_divisor": bits(16),
            "_line_control": bits(8),
            "_line_status": bits(8),
            "_modem_control": bits(5),
            "_modem_status": bits(8),
            "_scratch": bits(8),
            "_interrupt_enable": bits(4),
            "_interrupt_asserted": FLAG,
            "_transmitter_empty_pending": FLAG,
            "_fifo_enabled": FLAG,
            "_trigger_level": integers(1, FIFO_DEPTH),
        },
        receiver=PART,
    )

    def __init__(
        self,
        transmit: Callable[[int], None],
        interrupt: InterruptLine,
        clock: Clock,
        timers: TimerQueue,
        name: str = "COM1",
        base: int = COM1,
    ) -> None:
        """`transmit` is called with every byte that the guest sends. `base` is a multiple of 8."""
        self.name: Final = name
        self.ports: Final = (range(base, base + 8),)
        self._transmit = transmit
        self._interrupt = interrupt
        self.looks = 0
        """How often the guest has read the line status."""
        self._receiver: Final = SerialReceiver(clock, timers, self._receiver_changed)
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        """COM1."""
        return cls(machine.console.put, machine.line(_COM1_IRQ), machine.clock, machine.timers)

    def reset(self) -> None:
        self._receiver.switch_on()
        self._divisor = 12  # 9600 baud, as a BIOS leaves it.
        self._line_control = 0
        self._line_status = _TRANSMITTER_IDLE
        self._modem_control = 0
        self._modem_status = _MODEM_LINES_READY
        self._scratch = 0
        self._interrupt_enable = 0
        self._interrupt_asserted = False
        self._transmitter_empty_pending = False
        self._fifo_enabled = False
        self._trigger_level = 1
        self._update_sends_at_once()
        self._interrupt(False)

    def save(self) -> State:
        return self._FIELDS.save(self, receiver=self._receiver.save())

    def load(self, state: State) -> None:
        receiver = self._FIELDS.load(self, self.name, state)["receiver"]
        self._receiver.load(f"{self.name}, receiver", receiver)
        self._update_sends_at_once()
        self._interrupt(self._interrupt_asserted)

    # The host's side

    def receive(self, data: bytes) -> None:
        """The host sends `data` to the guest, any amount of it."""
        self._receiver.feed(data)

    @property
    def backlog(self) -> int:
        """How many bytes the host has sent and the port has not taken yet: whoever sends can wait until it shrinks."""
        return self._receiver.backlog

    @property
    def taken(self) -> Subscribers[[]]:
        """Are told when the port has taken some of the backlog."""
        return self._receiver.taken

    # The guest's side

    def read_port(self, port: int, size: int) -> int:
        register = port & 7
        if register == UartRegister.LINE_STATUS:
            self.looks += 1
            if not self._line_status & _OVERRUN:
                return self._line_status
        return self._read(register)

    def write_port(self, port: int, size: int, value: int) -> None:
        register = port & 7
        if register == UartRegister.DATA and self._sends_at_once:
            self._transmit(value)
        else:
            self._write(register, value)

    def _read(self, register: int) -> int:
        latch = self._line_control & _DIVISOR_LATCH_ACCESS
        match register:
            case UartRegister.DATA:
                return self._divisor & 0xFF if latch else self._read_received()
            case UartRegister.INTERRUPT_ENABLE:
                return self._divisor >> 8 if latch else self._interrupt_enable
            case UartRegister.INTERRUPT_IDENTIFICATION:
                return self._read_interrupt_identification()
            case UartRegister.LINE_CONTROL:
                return self._line_control
            case UartRegister.MODEM_CONTROL:
                return self._modem_control
            case UartRegister.LINE_STATUS:
                return self._read_line_status()
            case UartRegister.MODEM_STATUS:
                return self._read_modem_status()
            case _:
                return self._scratch

    def _write(self, register: int, value: int) -> None:
        latch = self._line_control & _DIVISOR_LATCH_ACCESS
        match register:
            case UartRegister.DATA if latch:
                self._divisor = self._divisor & 0xFF00 | value
            case UartRegister.DATA:
                self._send(value)
            case UartRegister.INTERRUPT_ENABLE if latch:
                self._divisor = self._divisor & 0xFF | value << 8
            case UartRegister.INTERRUPT_ENABLE:
                self._write_interrupt_enable(value)
            case UartRegister.INTERRUPT_IDENTIFICATION:
                self._write_fifo_control(value)
            case UartRegister.LINE_CONTROL:
                self._write_line_control(value)
            case UartRegister.MODEM_CONTROL:
                self._write_modem_control(value)
            case UartRegister.SCRATCH:
                self._scratch = value
            case _:
                pass  # The status registers are read-only.

    # Data

    def _read_received(self) -> int:
        byte = self._receiver.read()
        self._receiver_changed()
        return byte

    def _send(self, byte: int) -> None:
        # The interrupt falls and rises again: an edge-triggered controller has to see every byte go.
        self._transmitter_empty_pending = False
        self._update_interrupt()
        if not self._modem_control & _LOOPBACK:
            self._transmit(byte)
        elif not self._receiver.loop_back(byte):
            self._line_status |= _OVERRUN
        self._transmitter_empty_pending = bool(self._interrupt_enable & InterruptEnable.TRANSMITTER_EMPTY)
        self._receiver_changed()

    def _receiver_changed(self) -> None:
        ready = _DATA_READY if self._receiver else 0
        self._line_status = self._line_status & ~_DATA_READY | ready
        self._update_interrupt()

    def _update_sends_at_once(self) -> None:
        """Whether a byte written to the data register has no other effect than to go out."""
        self._sends_at_once = not (
            self._line_control & _DIVISOR_LATCH_ACCESS
            or self._modem_control & _LOOPBACK
            or self._interrupt_enable & InterruptEnable.TRANSMITTER_EMPTY
        )

    # Interrupts

    def _pending(self) -> int:
        enabled = self._interrupt_enable
        received = len(self._receiver)
        if enabled & InterruptEnable.LINE_STATUS and self._line_status & _OVERRUN:
            return InterruptIdentification.LINE_STATUS
        if enabled & InterruptEnable.RECEIVED_DATA and received:
            # Bytes come in bursts, so whatever is short of the trigger level has seen the line idle for four characters.
            below = received < self._trigger_level
            return InterruptIdentification.CHARACTER_TIMEOUT if below else InterruptIdentification.RECEIVED_DATA
        if enabled & InterruptEnable.TRANSMITTER_EMPTY and self._transmitter_empty_pending:
            return InterruptIdentification.TRANSMITTER_EMPTY
        if enabled & InterruptEnable.MODEM_STATUS and self._modem_status & 0x0F:
            return InterruptIdentification.MODEM_STATUS
        return InterruptIdentification.NONE

    def _update_interrupt(self) -> None:
        # PCs gate the interrupt with OUT2; QEMU does not, and small kernels rely on that.
        asserted = bool(self._interrupt_enable) and self._pending() != InterruptIdentification.NONE
        if asserted != self._interrupt_asserted:
            self._interrupt_asserted = asserted
            self._interrupt(asserted)

    def _read_interrupt_identification(self) -> int:
        pending = self._pending()
        if pending == InterruptIdentification.TRANSMITTER_EMPTY:
            self._transmitter_empty_pending = False
            self._update_interrupt()
        return pending | (_FIFOS_ENABLED if self._fifo_enabled else 0)

    def _write_interrupt_enable(self, value: int) -> None:
        news = value & ~self._interrupt_enable
        self._interrupt_enable = value & 0x0F
        if news & InterruptEnable.TRANSMITTER_EMPTY:
            self._transmitter_empty_pending = True
        self._update_sends_at_once()
        self._update_interrupt()

    # Line and modem

    def _write_fifo_control(self, value: int) -> None:
        enable = bool(value & _FIFO_ENABLE)
        if enable != self._fifo_enabled or value & _FIFO_CLEAR_RECEIVER:
            self._receiver.reset(FIFO_DEPTH if enable else 1)
        self._fifo_enabled = enable
        self._trigger_level = _FIFO_TRIGGER_LEVELS[value >> 6] if enable else 1
        self._receiver_changed()

    def _write_line_control(self, value: int) -> None:
        self._line_control = value
        self._receiver.pause()
        self._update_sends_at_once()
        self._receiver_changed()

    def _read_line_status(self) -> int:
        status = self._line_status
        self._line_status = status & ~_OVERRUN
        self._update_interrupt()
        return status

    def _write_modem_control(self, value: int) -> None:
        self._modem_control = value & _MODEM_CONTROL_BITS
        self._receiver.connect(not value & _LOOPBACK)
        self._set_modem_lines(_looped_modem_lines(value) if value & _LOOPBACK else _MODEM_LINES_READY)
        self._update_sends_at_once()
        self._receiver_changed()

    def _set_modem_lines(self, lines: int) -> None:
        """The four inputs, as bits 4-7; every change leaves its mark in bits 0-3."""
        before = self._modem_status & 0xF0
        changed = before ^ lines
        if lines & _RING_INDICATOR:
            changed &= ~_RING_INDICATOR  # Only its trailing edge counts.
        self._modem_status = self._modem_status & 0x0F | lines | changed >> 4

    def _read_modem_status(self) -> int:
        status = self._modem_status
        self._modem_status = status & 0xF0
        self._update_interrupt()
        return status


def _looped_modem_lines(control: int) -> int:
    """What the modem inputs show in loopback: RTS as CTS, DTR as DSR, OUT1 as RI, OUT2 as DCD."""
    request_to_send, data_terminal_ready = control >> 1 & 1, control & 1
    return request_to_send << 4 | data_terminal_ready << 5 | (control >> 2 & 3) << 6
