"""Images that fail while a guest runs from them: how the run ends, and what it says."""

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

import kev
from kev.machine.ending import EndingKind
from kev.pager.source import AsynchronousSource
from tests.cli.programs import kernel
from tests.pager.sources import BytesSource

SECOND_PAGE = "the page at gpa 0x201000 of the segment at 0x200000-0x208000, file offset 0x2000"
TOUCHES_THE_SECOND_PAGE = kernel(bytes.fromhex("a000102000 b015 e6f4 f4").ljust(0x1800, b"\0"))
"""mov al, [0x201000]; then it ends with 43."""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "kernel"
    file.write_bytes(TOUCHES_THE_SECOND_PAGE)
    return file


class Broken(BytesSource):
    """Reads headers and the first page; then it does what `late` does."""

    def __init__(self, late: Callable[[memoryview], object]) -> None:
        super().__init__(TOUCHES_THE_SECOND_PAGE)
        self.late = late

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        return self.late(buffer) if offset >= 0x2000 else super().read_into(offset, buffer)  # type: ignore[return-value]


def fail(error: Exception) -> Callable[[memoryview], object]:
    def late(_buffer: memoryview) -> object:
        raise error

    return late


def test_the_kernel_runs_if_nothing_fails(image: Path) -> None:
    assert kev.launch(image).exit_code == 43


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize(
    ("late", "message"),
    [
        (fail(ValueError("no such luck")), "kernel: 2048 bytes at offset 0x2000 cannot be read: ValueError: no such luck"),
        (fail(kev.KevError("the disk is gone")), "the disk is gone"),
        (lambda buffer: 0, "kernel: ends 2048 bytes too early"),
        (lambda buffer: len(buffer) + 1, "kernel: asked for 2048 bytes at offset 0x2000, it says that it has read 2049"),
        (lambda buffer: -1, "kernel: ends 2048 bytes too early"),
        (lambda buffer: None, "kernel: asked for 2048 bytes at offset 0x2000, it says that it has read None"),
    ],
)
def test_whatever_a_source_does_becomes_one_clear_error(
    late: Callable[[memoryview], object], message: str, seed: int | None
) -> None:
    ending = kev.launch(Broken(late), seed=seed).ending
    assert ending.kind is EndingKind.DIED
    assert ending.message.startswith(f"vCPU 0 at RIP 0x200000: {message}")
    assert ending.message.endswith(f"it is for {SECOND_PAGE}")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.write_bytes(TOUCHES_THE_SECOND_PAGE[:0x1800]), "was changed while it was in use"),
        (lambda file: file.write_bytes(TOUCHES_THE_SECOND_PAGE), "was changed while it was in use"),
    ],
)
def test_a_file_that_is_changed_while_it_is_in_use_ends_the_run(image: Path, spoil: Callable[[Path], object], message: str) -> None:
    with kev.start(image, paused=True) as machine:
        spoil(image)
        machine.resume()
        ending = machine.wait().ending
    assert ending.kind is EndingKind.DIED
    assert message in ending.message


def test_a_file_that_is_replaced_by_another_stays_what_it_was(image: Path) -> None:
    with kev.start(image, paused=True) as machine:
        image.unlink()
        image.write_bytes(b"something else")
        machine.resume()
        assert machine.wait().exit_code == 43


class Silent(AsynchronousSource):
    """Pages never come, and what is read by the way neither, once headers are there."""

    def __init__(self) -> None:
        super().__init__(BytesSource(TOUCHES_THE_SECOND_PAGE))

    async def read_into(self, offset: int, buffer: memoryview, /) -> int:
        await trio.sleep_forever()
        raise AssertionError


@pytest.mark.parametrize("wishes", [{}, {"seed": 1}, {"vcpus": 2}, {"paging": "eager"}])
def test_a_time_limit_ends_a_run_that_waits_for_a_page(wishes: dict[str, object]) -> None:
    report = kev.launch(Silent(), timeout=0.1, **wishes)  # type: ignore[arg-type]
    assert report.ending.kind is EndingKind.TIMED_OUT


async def test_every_vcpu_that_waits_for_a_page_ends_with_it() -> None:
    gone = trio.Event()

    class Late(Silent):
        async def read_into(self, offset: int, buffer: memoryview, /) -> int:
            await gone.wait()
            raise OSError("unplugged")

    async with kev.start(Late(), vcpus=2) as machine:
        await trio.testing.wait_all_tasks_blocked()
        gone.set()
        report = await machine.wait()
    assert report.ending.kind is EndingKind.DIED
    assert "OSError: unplugged; it is for the page at gpa 0x200000 of the segment at 0x200000-0x208000" in report.ending.message


def test_symbols_of_a_source_that_says_nothing_are_not_waited_for() -> None:
    release = threading.Event()

    class Stuck(BytesSource):
        headers_only = False

        def read_into(self, offset: int, buffer: memoryview, /) -> int:
            if self.headers_only:
                release.wait()
            return super().read_into(offset, buffer)

    class Pages(AsynchronousSource):
        def __init__(self, inner: Stuck) -> None:
            super().__init__(inner)
            # Small files are all head, which is read once: this one is read again for its symbols.
            self.blocking = self._patient  # type: ignore[misc]

        def read_into(self, offset: int, buffer: memoryview, /) -> int | Awaitable[int]:
            inner.headers_only = True
            return BytesSource(kernel(b"\xeb\xfe".ljust(0x1000))).read_into(offset, buffer)

    inner = Stuck(kernel(b"\xeb\xfe".ljust(0x1000)))
    report = kev.launch(Pages(inner), timeout=0.1)
    release.set()
    assert report.ending.message == "timed out after 0.1 s: vCPU 0 at RIP 0x200000"


def test_an_output_that_always_raises_leaves_no_thread_and_no_memory() -> None:
    def refuse(_data: bytes) -> None:
        raise RuntimeError("full")

    threads = threading.active_count()
    for _ in range(20):
        with pytest.raises(RuntimeError, match="full"):
            kev.launch("hypercalls", output=refuse)
    assert threading.active_count() <= threads
