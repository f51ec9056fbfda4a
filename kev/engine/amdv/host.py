"""What a guest runs on: a processor in host mode with its memory and its timer."""

from functools import cached_property
from typing import Final, NamedTuple

from kev.engine.amdv import layout
from kev.engine.amdv.layout import CpuMemory
from kev.engine.amdv.libunicorn import EmulatedCpu
from kev.engine.amdv.preempt import PreemptionThread
from kev.memory import HostMemory


class Processor(NamedTuple):
    cpu: EmulatedCpu
    state: CpuMemory


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
        return Processor(cpu, layout.locate(cpu))

    def close(self) -> None:
        """Ends the timer's thread. Memory and processor live for as long as somebody holds them."""
        self.timer.close()
