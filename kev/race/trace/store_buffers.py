"""Store buffers of the vCPUs of a trace run (x86-TSO): a store is seen by its vCPU at once, and by others later, in order.

See `kev.race.guest.store_buffers`. A store buffer that holds something can be chosen as a vCPU can, by a number behind the last:
each of its steps makes the oldest store visible. It has no bound, as in the model: a processor's has room for more than programs
store. Emptied are a vCPU's at a fence, a locked store, and what it asks of the pager, which is an exit; all are when a page is
unmapped, for whoever unmaps it interrupts the others.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from kev.addressing import PAGE_SHIFT, PAGE_SIZE, Hpa
from kev.race.points import At, TracePoint
from kev.race.trace.task import Task


class Empty:
    """What a store buffer's step ends with when nothing is left."""


EMPTY: Final = Empty()


class BufferedStore(NamedTuple):
    """A store of 8 bytes that others do not see yet."""

    page: int
    offset: int
    address: Hpa
    value: int


class StoreBuffers:
    """The store buffers of all vCPUs, and what makes their steps."""

    def __init__(self, vcpus: int, show: Callable[[int, BufferedStore], None]) -> None:
        """`show` is given a vCPU and its store, and puts it into memory."""
        self._buffers: Final = [deque[BufferedStore]() for _ in range(vcpus)]
        self._show: Final = show
        self.tasks: Final = [self._task(vcpu) for vcpu in range(vcpus)]
        """By vCPU: what is resumed for a step of its store buffer."""

    def add(self, vcpu: int, store: BufferedStore) -> At | None:
        """Where its task is from now on, if there was none."""
        buffer = self._buffers[vcpu]
        buffer.append(store)
        return _at(store) if len(buffer) == 1 else None

    def show_all(self, vcpu: int) -> bool:
        """Makes all stores of a vCPU visible; False if there are none."""
        buffer = self._buffers[vcpu]
        if not buffer:
            return False
        while buffer:
            self._show(vcpu, buffer.popleft())
        return True

    def holders(self, page: int) -> list[int]:
        """The vCPUs whose stores to a page others do not see yet."""
        return [vcpu for vcpu, buffer in enumerate(self._buffers) if any(store.page == page for store in buffer)]

    def seen_by(self, vcpu: int, page: int, contents: bytes) -> bytes:
        """What a vCPU sees in a page of which memory has `contents`."""
        seen = bytearray(contents)
        for store in self._buffers[vcpu]:
            if store.page == page:
                seen[store.offset : store.offset + 8] = store.value.to_bytes(8, "little")
        assert len(seen) == PAGE_SIZE
        return bytes(seen)

    def _task(self, vcpu: int) -> Task:
        def step(_: None) -> At | Empty:
            buffer = self._buffers[vcpu]
            self._show(vcpu, buffer.popleft())
            return _at(buffer[0]) if buffer else EMPTY

        return Task(cast(Any, None), step, stopped=True)


def _at(store: BufferedStore) -> At:
    return TracePoint.SHOW, store.page << PAGE_SHIFT
