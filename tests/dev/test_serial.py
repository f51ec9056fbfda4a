"""The serial port, driven as guests drive it."""

from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kev.clock import TimerQueue, VirtualClock
from kev.dev.serial.uart16550 import SerialPort

DATA, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCR = 0, 1, 2, 2, 3, 4, 5, 6, 7
FRAME = 86_805
LOOPBACK = 0x10


class Line:
    """A serial port with everything around it: clock, host, interrupt controller."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.timers = TimerQueue(self.clock)
        self.sent = bytearray()
        self.asserted = False
        self.edges = 0
        self.port = SerialPort(self.sent.append, self._interrupt, self.clock, self.timers)

    def _interrupt(self, asserted: bool) -> None:
        self.edges += asserted and not self.asserted
        self.asserted = asserted

    def read(self, register: int) -> int:
        return self.port.read_port(0x3F8 + register, 1)

    def write(self, register: int, value: int) -> None:
        self.port.write_port(0x3F8 + register, 1, value)

    def wait(self, nanoseconds: int) -> None:
        self.clock.advance(nanoseconds)
        self.timers.run_due()

    def wait_for_input(self) -> None:
        """Lets time pass until the next timer is due."""
        deadline = self.timers.next_deadline()
        assert deadline is not None, "nothing is on its way"
        self.clock.advance_to(deadline)
        self.timers.run_due()

    def drain(self) -> bytes:
        """What a driver reads that reads until the port has no more."""
        received = bytearray()
        while self.read(LSR) & 1:
            received.append(self.read(DATA))
        return bytes(received)

    def receive_all(self) -> bytes:
        """Everything the host has sent, however long it takes."""
        received = self.drain()
        while self.port.backlog:
            self.wait_for_input()
            received += self.drain()
        return received

    def program(self, fifo_control: int = 0xC7, interrupt_enable: int = 0) -> None:
        """What a driver's initialisation does, and the quiet after it."""
        self.write(LCR, 0x80)
        self.write(DATA, 1)
        self.write(IER, 0)
        self.write(LCR, 0x03)
        self.write(FCR, fifo_control)
        self.write(MCR, 0x0B)
        self.write(IER, interrupt_enable)
        self.wait(1_000_000)


@pytest.fixture
def line() -> Line:
    return Line()


# Sending


def test_bytes_written_go_out_in_order_and_the_transmitter_is_always_empty(line: Line) -> None:
    for byte in b"Hello guest os!":
        assert line.read(LSR) & 0x60 == 0x60
        line.write(DATA, byte)
    assert bytes(line.sent) == b"Hello guest os!"


def test_the_divisor_latch_takes_the_data_ports_place(line: Line) -> None:
    line.write(LCR, 0x83)
    line.write(DATA, 0x34)
    line.write(IER, 0x12)
    assert (line.read(DATA), line.read(IER)) == (0x34, 0x12)
    line.write(LCR, 0x03)
    assert line.sent == b""
    assert line.read(IER) == 0
    line.write(DATA, ord("x"))
    assert line.sent == b"x"


def test_an_empty_transmitter_interrupts_as_soon_as_that_is_enabled(line: Line) -> None:
    line.write(IER, 2)
    assert line.asserted
    assert line.read(IIR) == 0x02
    assert not line.asserted, "reading the identification acknowledges it"
    assert line.read(IIR) == 0x01


def test_every_byte_sent_by_interrupt_makes_a_new_edge(line: Line) -> None:
    line.write(IER, 2)
    for byte in b"abc":
        assert line.asserted
        line.write(DATA, byte)
    assert line.sent == b"abc"
    assert line.edges == 4


def test_turning_the_transmitter_interrupt_off_and_on_makes_it_pending_again(line: Line) -> None:
    line.write(IER, 2)
    assert line.read(IIR) == 0x02
    line.write(IER, 0)
    line.write(IER, 2)
    assert line.read(IIR) == 0x02


def test_enabling_the_transmitter_interrupt_twice_interrupts_once(line: Line) -> None:
    line.write(IER, 2)
    assert line.read(IIR) == 0x02
    line.write(IER, 3)
    assert not line.asserted


# Receiving


def test_a_byte_from_the_host_is_ready_at_once_and_read_once(line: Line) -> None:
    line.port.receive(b"k")
    assert line.read(LSR) == 0x61
    assert line.read(DATA) == ord("k")
    assert line.read(LSR) == 0x60
    assert line.read(DATA) == 0


def test_received_data_interrupts_until_it_is_read(line: Line) -> None:
    line.program(fifo_control=0, interrupt_enable=1)
    line.port.receive(b"k")
    assert line.asserted
    assert line.read(IIR) == 0x04
    assert line.asserted, "reading the identification does not acknowledge data"
    line.read(DATA)
    assert not line.asserted


def test_the_trigger_level_tells_data_from_a_timeout(line: Line) -> None:
    line.program(fifo_control=0x87, interrupt_enable=1)  # 8 bytes
    line.port.receive(b"1234567")
    assert line.read(IIR) == 0xCC
    line.port.receive(b"8")
    assert line.read(IIR) == 0xC4
    assert line.drain() == b"12345678"
    assert line.read(IIR) == 0xC1


def test_input_in_excess_of_the_fifo_waits_and_arrives_at_line_speed(line: Line) -> None:
    line.program()
    line.port.receive(bytes(range(40)))
    assert line.port.backlog == 24
    assert line.drain() == bytes(range(16))
    line.wait(16 * FRAME - 1)
    assert line.drain() == b""
    line.wait(1)
    assert line.drain() == bytes(range(16, 32))
    assert line.receive_all() == bytes(range(32, 40))


def test_without_fifo_one_byte_arrives_at_a_time(line: Line) -> None:
    line.program(fifo_control=0)
    line.port.receive(b"ls\n")
    assert line.drain() == b"l"
    line.wait(FRAME)
    assert line.drain() == b"s"
    line.wait(FRAME)
    assert line.drain() == b"\n"
    assert line.timers.next_deadline() is None


def test_input_sent_before_the_driver_starts_survives_its_initialisation(line: Line) -> None:
    line.port.receive(b"echo hi\n")
    line.write(FCR, 0)
    line.write(LCR, 0x80)
    line.write(DATA, 12)
    line.write(IER, 0)
    line.write(LCR, 0x03)
    line.write(MCR, 0)
    line.write(IER, 1)
    line.read(IIR)
    line.read(DATA)  # Drivers discard what they find.
    assert line.receive_all() == b"echo hi\n"


def test_clearing_the_fifo_loses_nothing_the_host_sent(line: Line) -> None:
    line.program()
    line.port.receive(bytes(range(20)))
    line.read(DATA)
    line.write(FCR, 0xC3)
    assert line.read(LSR) == 0x60
    assert line.receive_all() == bytes(range(1, 20))


# Interrupt priorities


def test_interrupts_are_identified_by_priority(line: Line) -> None:
    line.write(IER, 0x0F)
    line.write(MCR, LOOPBACK)  # The modem lines drop: modem status.
    line.write(DATA, 1)
    line.write(DATA, 2)  # An overrun: line status.
    assert line.read(IIR) == 0x06
    assert line.read(LSR) == 0x63
    assert line.read(IIR) == 0x04
    assert line.read(DATA) == 2
    assert line.read(IIR) == 0x02
    assert line.read(IIR) == 0x00
    assert line.read(MSR) == 0x0B
    assert line.read(IIR) == 0x01
    assert not line.asserted


def test_the_line_status_shows_an_overrun_once(line: Line) -> None:
    line.write(MCR, LOOPBACK)
    line.write(DATA, 1)
    line.write(DATA, 2)
    assert line.read(LSR) == 0x63
    assert line.read(LSR) == 0x61


def test_reading_the_line_status_acknowledges_an_overrun(line: Line) -> None:
    line.write(IER, 0x04)
    line.write(MCR, LOOPBACK)
    line.write(DATA, 1)
    assert not line.asserted
    line.write(DATA, 2)
    assert line.asserted
    line.read(LSR)
    assert not line.asserted


# Loopback and modem


def test_in_loopback_bytes_come_back_and_none_goes_out(line: Line) -> None:
    line.program()
    line.write(MCR, LOOPBACK)
    for byte in b"test":
        line.write(DATA, byte)
    assert line.drain() == b"test"
    assert line.sent == b""


def test_an_overrun_of_the_fifo_loses_the_newest_byte(line: Line) -> None:
    line.program()
    line.write(MCR, LOOPBACK)
    for byte in range(17):
        line.write(DATA, byte)
    assert line.read(LSR) == 0x63
    assert line.drain() == bytes(range(16))


def test_host_input_waits_while_the_port_talks_to_itself(line: Line) -> None:
    line.program()
    line.write(MCR, LOOPBACK)
    line.port.receive(b"real")
    line.wait(10_000_000)
    line.write(DATA, ord("L"))
    assert line.drain() == b"L"
    line.write(MCR, 0x0B)
    assert line.receive_all() == b"real"


def test_looped_back_bytes_do_not_survive_a_reset_of_the_fifo(line: Line) -> None:
    line.program()
    line.write(MCR, LOOPBACK)
    line.write(DATA, ord("L"))
    line.write(MCR, 0x0B)
    line.port.receive(b"real")
    line.wait(1_000_000)
    line.write(FCR, 0xC3)
    assert line.receive_all() == b"real"


@pytest.mark.parametrize(("control", "lines"), [(0x1, 0x20), (0x2, 0x10), (0x4, 0x40), (0x8, 0x80), (0xF, 0xF0), (0, 0)])
def test_in_loopback_modem_control_shows_as_modem_status(line: Line, control: int, lines: int) -> None:
    line.write(MCR, LOOPBACK | control)
    assert line.read(MSR) & 0xF0 == lines


def test_modem_lines_are_ready_and_their_changes_are_shown_once(line: Line) -> None:
    assert line.read(MSR) == 0xB0
    line.write(MCR, LOOPBACK | 0x4)
    assert line.read(MSR) == 0x4B
    line.write(MCR, LOOPBACK)
    assert line.read(MSR) == 0x04, "the trailing edge of the ring indicator"
    assert line.read(MSR) == 0x00


def test_the_scratch_register_holds_a_byte_and_the_status_registers_do_not(line: Line) -> None:
    line.write(SCR, 0xA5)
    line.write(LSR, 0)
    line.write(MSR, 0)
    assert (line.read(SCR), line.read(LSR), line.read(MSR)) == (0xA5, 0x60, 0xB0)


class SerialMachine(RuleBasedStateMachine):
    """Whatever the host sends and the driver does, outside loopback no byte is lost, doubled or reordered."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.expected: deque[int] = deque()
        self.count = 0

    @rule(length=st.integers(0, 50))
    def the_host_sends(self, length: int) -> None:
        data = bytes((self.count + i) & 0xFF for i in range(length))
        self.count += length
        self.expected.extend(data)
        self.line.port.receive(data)

    @rule(count=st.integers(1, 20))
    def the_guest_reads(self, count: int) -> None:
        for _ in range(count):
            if self.line.read(LSR) & 1:
                assert self.line.read(DATA) == self.expected.popleft()

    @rule(value=st.integers(0, 255))
    def the_guest_programs_the_fifo(self, value: int) -> None:
        self.line.write(FCR, value)

    @rule(value=st.integers(0, 127))
    def the_guest_programs_the_line(self, value: int) -> None:
        self.line.write(LCR, value)

    @rule(value=st.integers(0, 15))
    def the_guest_enables_interrupts(self, value: int) -> None:
        self.line.write(IER, value)

    @rule()
    def the_guest_loops_back_and_returns(self) -> None:
        self.line.write(MCR, LOOPBACK)
        self.line.drain()
        self.line.write(MCR, 0x0B)

    @rule(nanoseconds=st.integers(0, 3_000_000))
    def time_passes(self, nanoseconds: int) -> None:
        self.line.wait(nanoseconds)

    @precondition(lambda self: self.expected)
    @rule()
    def everything_arrives_in_the_end(self) -> None:
        assert self.line.receive_all() == bytes(self.expected)
        self.expected.clear()

    @invariant()
    def the_interrupt_is_asserted_exactly_when_one_is_identified(self) -> None:
        asserted = self.line.asserted
        identified = self.line.read(IIR) & 0x0F
        assert asserted == (identified != 1)


TestSerialMachine = SerialMachine.TestCase
