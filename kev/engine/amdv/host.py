"""What guests run on, one after the other: a processor in host mode with its memory and its timer."""

from functools import cached_property
from typing import Final

from kev.addressing import GIB
from kev.engine.amdv import fpu, layout
from kev.engine.amdv.layout import CpuMemory
from kev.engine.amdv.libunicorn import Context, EmulatedCpu
from kev.engine.amdv.preempt import PreemptionThread
from kev.engine.amdv.tlb_fills import TlbFills
from kev.engine.registers import FpuState
from kev.host_memory import HostMemory
from kev.named_tuple import NamedTuple

DATA_ALIAS: Final = 1 << 39
"""With this bit, a physical address may lead to the same memory by another way: `Host.data_alias`."""


_CPUID_1_ECX_MOVBE: Final = 1 << 22
"""Taken back, because this CPU accesses memory even if MOVBE names registers only. Without it, MOVBE raises #UD."""


class Processor(NamedTuple):
    cpu: EmulatedCpu
    state: CpuMemory
    pristine: Context
    """What `cpu` held when it was new."""


class Host:
    """An emulated AMD computer without a guest."""

    def __init__(self, memory: HostMemory) -> None:
        """The processor's physical memory is `memory`, of which nothing may have been handed out to others than the guest."""
        self.memory: Final = memory
        self.timer: Final = PreemptionThread()

    @cached_property
    def processor(self) -> Processor:
        """Made when it is first needed, because that takes far longer than reserving memory."""
        cpu = EmulatedCpu()
        cpu.map_memory(0, self.memory.size, self.memory.address)
        state = layout.locate(cpu)
        fpu.write(cpu, state.quads, FpuState())
        layout.cpuid_1_ecx(state.address).value &= ~_CPUID_1_ECX_MOVBE
        return Processor(cpu, state, Context(cpu))

    @cached_property
    def fills(self) -> TlbFills:
        """Who fills the processor's TLB."""
        return TlbFills(self.processor.state, self.memory)

    @cached_property
    def data_alias(self) -> int:
        """A bit of physical addresses: with it, they lead to the same memory by another way. 0 if there is no room for that."""
        if self.memory.size > DATA_ALIAS - GIB:
            return 0
        self.processor.cpu.map_memory(DATA_ALIAS, self.memory.size, self.memory.address)
        self.fills.expect_alias(DATA_ALIAS)
        return DATA_ALIAS

    @property
    def windows_start(self) -> int:
        """Where physical memory ends, the second way to it included: windows of devices lie behind."""
        size = self.memory.size
        return size if size > DATA_ALIAS - GIB else DATA_ALIAS + size

    def reset(self) -> None:
        """Makes it as good as new: what a guest has left in memory, registers, translations and pending events is gone.

        Its hooks and devices must be gone already. Armed breakpoints stay: the processor keeps them where nothing can be seen of
        them, so a host with breakpoints cannot be made new.
        """
        self.memory.clear()
        cpu, state, pristine = self.processor
        cpu.restore(pristine)
        state.interrupt_request.value = 0
        self.fills.renew(cpu.flush_tlb)
        cpu.flush_code()

    def close(self) -> None:
        """Ends the timer's thread. Memory and processor live for as long as somebody holds them."""
        self.timer.close()
