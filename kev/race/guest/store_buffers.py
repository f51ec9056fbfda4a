"""Store buffers: what a vCPU stores is seen by itself at once, and by others later, in the order of its stores (x86-TSO).

P. Sewell, S. Sarkar, S. Owens, F. Zappa Nardelli, M. O. Myreen: "x86-TSO: A Rigorous and Usable Programmer's Model for x86
Multiprocessors", CACM 53(7), 2010. A store leaves its buffer when the schedule says so; before a fence, a locked instruction or an
exit is over, all do; and the oldest one does when the buffer is full.

vCPUs take turns on one CPU, so memory is what the one on it sees: when it comes, its buffered stores are put into memory, and when
it goes, they are taken out again. While it is there, what others see of the same bytes is kept aside.
"""

from collections import deque
from typing import Final, NamedTuple

from kev.addressing import Hpa
from kev.engine.base import VcpuState
from kev.exits import Access, Breakpoint, EptViolation, Exit, Pause, PreemptionTimer, Watchpoint
from kev.machine.vcpu import Vcpu
from kev.machine.vm import Vm, VmObserver
from kev.race.guest.instructions import Effect, Instructions

CAPACITY: Final = 32
"""Stores of a vCPU that others do not see yet, at most. Processors have room for about 40 to 110."""
_NOT_NOTICED: Final = frozenset({Pause, PreemptionTimer, EptViolation, Breakpoint, Watchpoint})
"""Exits that a guest on hardware without a hypervisor would not have."""


class BufferedStore(NamedTuple):
    """A store that others do not see yet."""

    hpa: int
    data: bytes
    instruction: int
    """Its linear address."""

    @property
    def bytes(self) -> range:
        return range(self.hpa, self.hpa + len(self.data))


class StoreBuffers(VmObserver):
    """The buffers of all vCPUs of a machine. Outside of `enter` and `leave`, memory is what everybody sees."""

    def __init__(self, vm: Vm, *, split: bool = False) -> None:
        """From now on, every access of `vm` is looked at.

        `split`: only what an instruction writes where it has read, without LOCK, is not seen at once, but before the vCPU's next.
        """
        self._split: Final = split
        self._begins = False
        """An instruction begins, before which what the last one wrote is seen. A breakpoint may still come before it."""
        self._read: Final[set[int]] = set()
        """Where the instruction that is being executed has read."""
        self._memory: Final = vm.pager.memory
        self._instructions: Final = Instructions(vm)
        self._buffers: Final[list[deque[BufferedStore]]] = [deque() for _ in vm.vcpus]
        self._active: deque[BufferedStore] | None = None
        """The buffer of the vCPU on the CPU."""
        self._shared: Final[dict[int, int]] = {}
        """What others see of the bytes that are in the active buffer."""
        self._is_locked = False
        """The instruction that is being executed makes its stores visible itself."""
        self._is_fence = False
        """It makes those before it visible. It may still turn out that a breakpoint comes before it."""
        vm.engine.trace_accesses(self._accessed, self._executed)
        vm.observe(self)

    def clear(self) -> None:
        """A run begins: nothing is buffered."""
        self._active = None
        self._is_locked = self._is_fence = self._begins = False
        self._read.clear()
        self._shared.clear()
        for buffer in self._buffers:
            buffer.clear()

    def of(self, vcpu: int) -> tuple[BufferedStore, ...]:
        """The stores of a vCPU that others do not see yet, the oldest first."""
        return tuple(self._buffers[vcpu])

    def waiting(self) -> list[int]:
        """The vCPUs that have such stores."""
        return [vcpu for vcpu, buffer in enumerate(self._buffers) if buffer]

    def enter(self, vcpu: int) -> None:
        """The vCPU goes on, and sees its own stores."""
        view = self._memory.view
        self._active = self._buffers[vcpu]
        for store in self._active:
            for byte in store.bytes:
                self._shared.setdefault(byte, view[byte])
            view[store.hpa : store.hpa + len(store.data)] = store.data

    def leave(self) -> None:
        """It has given up the CPU."""
        view = self._memory.view
        for byte, value in self._shared.items():
            view[byte] = value
        self._shared.clear()
        self._active = None

    def drain(self, vcpu: int, most: int) -> list[BufferedStore]:
        """Makes up to `most` stores of a vCPU visible, which is not on the CPU; returns them."""
        buffer = self._buffers[vcpu]
        drained = [buffer.popleft() for _ in range(min(most, len(buffer)))]
        for store in drained:
            self._memory.view[store.hpa : store.hpa + len(store.data)] = store.data
        return drained

    # A `kev.machine.vm.VmObserver`.

    def exit_began(self, vcpu: Vcpu, exit: Exit) -> None:
        if type(exit) not in _NOT_NOTICED:
            self._show_all()

    def slice_ended(self, vcpu: Vcpu, exit: Exit) -> None:
        executed = (self._is_fence or self._begins) and type(exit) is not Breakpoint
        self._is_fence = self._begins = False
        if executed or type(exit) not in _NOT_NOTICED:
            self._show_all()

    def _show_all(self) -> None:
        """Memory is as the vCPU on the CPU sees it; so do others now."""
        if self._active is not None:
            self._active.clear()
            self._shared.clear()

    def _executed(self, state: VcpuState, address: int, size: int) -> None:
        if self._is_fence or self._begins:
            self._show_all()
        self._begins = self._split
        self._read.clear()
        effect = self._instructions.effect(state, address, size)
        self._is_locked = effect is Effect.LOCKED
        self._is_fence = effect is Effect.FENCE

    def _accessed(self, state: VcpuState, address: int, hpa: Hpa, size: int, access: Access, value: int) -> None:
        active = self._active
        if self._begins:
            self._show_all()
            self._begins = False
        if self._is_locked or self._is_fence:
            self._show_all()
            return
        if access is Access.READ:
            self._read.add(hpa)
            return
        if active is None or hpa + size > self._memory.size or (self._split and hpa not in self._read):
            return
        if len(active) == CAPACITY:
            self._show_oldest(active)
        store = BufferedStore(hpa, value.to_bytes(size, "little"), address)
        for byte in store.bytes:
            self._shared.setdefault(byte, self._memory.view[byte])
        active.append(store)

    def _show_oldest(self, active: deque[BufferedStore]) -> None:
        oldest = active.popleft()
        hidden = {byte for store in active for byte in store.bytes}
        for byte, value in zip(oldest.bytes, oldest.data, strict=True):
            if byte in hidden:
                self._shared[byte] = value
            else:
                self._shared.pop(byte, None)
