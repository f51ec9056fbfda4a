"""A source that is slow on purpose, by a clock that costs no time."""

import trio
from trio.testing import MockClock

from kev.pager.slow_source import BlockingSlowSource, SlowSource, SourceDelay
from tests.pager.sources import BytesSource

MS = 0.001


async def read(source: SlowSource, offset: int, length: int) -> tuple[bytes, float]:
    """The bytes, and when they came, in seconds from now."""
    began = trio.current_time()
    buffer = bytearray(length)
    assert await source.read_into(offset, memoryview(buffer)) == length
    return bytes(buffer), trio.current_time() - began


async def test_a_read_takes_the_latency_and_the_time_of_its_bytes(autojump_clock: MockClock) -> None:
    source = SlowSource(BytesSource(b"0123456789" * 1000), SourceDelay(2 * MS, bytes_per_second=1e6))
    data, seconds = await read(source, 3, 5000)
    assert data == (b"0123456789" * 1000)[3:5003]
    assert round(seconds, 9) == 2 * MS + 5 * MS


async def test_latencies_pass_side_by_side_but_bytes_share_the_link(autojump_clock: MockClock) -> None:
    source = SlowSource(BytesSource(bytes(10000)), SourceDelay(2 * MS, bytes_per_second=1e6))
    seconds: list[float] = []

    async def reader() -> None:
        seconds.append(round((await read(source, 0, 1000))[1], 9))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(reader)
    assert seconds == [3 * MS, 4 * MS, 5 * MS]


async def test_jitter_follows_the_seed(autojump_clock: MockClock) -> None:
    async def latencies(seed: int) -> list[float]:
        source = SlowSource(BytesSource(bytes(100)), SourceDelay(MS, jitter=MS, seed=seed))
        return [round((await read(source, 0, 1))[1], 9) for _ in range(20)]

    first = await latencies(1)
    assert await latencies(1) == first
    assert await latencies(2) != first
    assert min(first) >= MS
    assert max(first) <= 2 * MS


def test_headers_are_read_as_slowly_by_holding_up_the_thread() -> None:
    slept: list[float] = []
    source = BlockingSlowSource(BytesSource(b"abcdef"), SourceDelay(5 * MS), slept.append)
    buffer = bytearray(3)
    assert source.read_into(2, memoryview(buffer)) == 3
    assert buffer == b"cde"
    assert [round(seconds, 6) for seconds in slept] == [5 * MS]


def test_a_slow_source_is_called_what_it_slows_down() -> None:
    source = SlowSource(BytesSource(bytes(77), "disk"), SourceDelay(MS))
    assert (source.name, source.size) == (source.blocking.name, source.blocking.size) == ("disk", 77)
