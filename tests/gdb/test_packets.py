"""The remote serial protocol's framing."""

from hypothesis import given
from hypothesis import strategies as st

from kev.gdb.packets import MAX_PACKET, Endpoint, Interrupt, Received, escape, frame, unescape

PAYLOADS = st.binary(max_size=60).map(escape)
MESSAGES = st.lists(st.one_of(PAYLOADS, st.just(Interrupt.INTERRUPT)), max_size=6)


def on_the_wire(message: Received) -> bytes:
    return b"\x03" if isinstance(message, Interrupt) else frame(message)


@given(st.binary())
def test_what_was_escaped_is_what_is_read(binary: bytes) -> None:
    escaped = escape(binary)
    assert unescape(escaped) == binary
    assert not set(escaped) & set(b"$#*")


@given(MESSAGES, st.data())
def test_messages_arrive_however_the_stream_is_cut(messages: list[Received], data: st.DataObject) -> None:
    stream = b"".join(map(on_the_wire, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    endpoint = Endpoint()
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += endpoint.receive(stream[start:end])
    assert received == messages
    assert endpoint.data_to_send() == b"+" * sum(isinstance(message, bytes) for message in messages)


@given(PAYLOADS, PAYLOADS, st.integers(1, 255))
def test_a_wrong_checksum_is_refused_and_the_next_packet_read(damaged: bytes, good: bytes, error: int) -> None:
    endpoint = Endpoint()
    wrong = b"$%b#%02x" % (damaged, (sum(damaged) + error) & 0xFF)
    assert endpoint.receive(wrong + frame(good)) == [good]
    assert endpoint.data_to_send() == b"-+"


@given(st.binary(max_size=200))
def test_noise_is_survived(noise: bytes) -> None:
    endpoint = Endpoint()
    endpoint.receive(noise)
    assert endpoint.receive(b"#00" + frame(b"?") + frame(b"?"))[-1] == b"?"


def test_a_packet_whose_end_was_lost_gives_way_to_the_next() -> None:
    assert Endpoint().receive(b"$m1000" + frame(b"?")) == [b"?"]


def test_a_refused_packet_is_sent_again() -> None:
    endpoint = Endpoint()
    endpoint.send(b"OK")
    endpoint.receive(b"-")
    assert endpoint.data_to_send() == b"$OK#9a" * 2
    assert endpoint.data_to_send() == b""


def test_a_packet_that_is_too_long_is_refused() -> None:
    endpoint = Endpoint()
    assert endpoint.receive(frame(b"m" * MAX_PACKET)) == [b"m" * MAX_PACKET]
    assert endpoint.receive(frame(b"m" * (MAX_PACKET + 1))) == []
    assert endpoint.data_to_send() == b"+-"


def test_nothing_is_acknowledged_when_that_was_agreed() -> None:
    endpoint = Endpoint()
    endpoint.stop_acknowledging()
    assert endpoint.receive(frame(b"g") + b"-") == [b"g"]
    assert endpoint.data_to_send() == b""
