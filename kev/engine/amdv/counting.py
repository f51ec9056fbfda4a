"""Counts instructions a block at a time: `native/counting.c`, which the emulated CPU calls instead of Unicorn's own counter.

Unicorn counts by a call before every instruction, behind which it knows neither flags nor registers, so that code runs twenty times
slower. Here a block of translated code is counted when it begins; only the block in which a slice ends is counted by instruction.
Where the library was not compiled for this host, or Unicorn's own structures are not where they are expected, Unicorn counts; so it
does wherever somebody is called before instructions anyway. Both come to the same numbers (`tests/engine/test_counting.py`).
"""

import ctypes
from array import array
from typing import Final

from kev.engine.amdv import blocks, layout, libunicorn, native
from kev.engine.amdv.blocks import LAST_OF_UC, TRANSLATOR_OF_UC, half, quad
from kev.engine.amdv.layout import CpuMemory
from kev.engine.amdv.libunicorn import EmulatedCpu, Hook
from kev.engine.amdv.native import Structure, address_of
from kev.host_memory import HostMemory

_VERSION: Final = 4
"""What `kev_counting_version` says of a library that was built from the source as it is now."""

# Quadwords of struct counting.
_COUNTER, _LIMIT, _BY_INSTRUCTION, _CURRENT, _VARIANT_NEXT, _COUNTS = range(6)
_WHERE_TO_COUNT, _NEXT_FLAGS, _LEAVE, _WHOLE_INSTRUCTIONS, _LAST, _DEVICE_ACCESS, _FAULTING, _RIP = range(6, 14)
_CODE_BASE, _CR2, _ERROR_CODE, _OLD_EXCEPTION, _IS_SOFTWARE_INTERRUPT, _INJECTED = range(14, 20)
_FLAGS_ARE, _FLAGS, _KEPT_CR2, _MEMORY, _FIRST_PAGE, _END, _STATE, _INTERCEPTS, _UC = range(20, 29)
_CPU, _TRANSLATOR, _FIND, _START, _STOP, _COMPUTE_FLAGS, _SAVE, _RESTORE, _CONTROL, _LEAVE_NOW, _LEAVE_FOR_DEVICE = range(29, 40)
_INTERRUPT, _INVALID_INSTRUCTION, _IN, _OUT, _OWN_STORES_LEFT, _UNSURE, _UNSURE_CALLER, _BLOCK = range(40, 48)
_BLOCK_WORDS: Final = 11
_CACHE_WORDS: Final = 4 * 1024
_WORDS: Final = _BLOCK + _BLOCK_WORDS + _CACHE_WORDS
_DEVICE_WORDS: Final = 4

_EVERYWHERE: Final = (1, 0)
_NOWHERE: Final = ((1 << 64) - 1, (1 << 64) - 1)


# Offsets into uc_struct, CPUState and struct hook of Unicorn 2.1.
_NESTING_OF_UC: Final = 14840
_NEXT_FLAGS_OF_CPU: Final = 24
_DEVICE_ACCESS_OF_CPU: Final = 33144
_CAN_ACCESS_DEVICES_OF_CPU: Final = 33180
_RANGE_OF_HOOK: Final = 24

_USUAL_FLAGS: Final = 0xFFFF_FFFF
_FUNCTIONS: Final = {
    _FIND: "tcg_tb_lookup_x86_64",
    _START: "uc_emu_start",
    _STOP: "uc_emu_stop",
    _COMPUTE_FLAGS: "cpu_cc_compute_all_x86_64",
    _SAVE: "uc_context_save",
    _RESTORE: "uc_context_restore",
    _CONTROL: "uc_ctl",
    _LEAVE_NOW: "cpu_loop_exit_noexc_x86_64",
    _LEAVE_FOR_DEVICE: "cpu_io_recompile_x86_64",
}
"""What native code calls of libunicorn. The names with a suffix are QEMU's, which most builds export."""
NATIVE: Final = (
    native.library("counting", _VERSION) if libunicorn.exports(_FUNCTIONS.values()) and libunicorn.CAN_FORGET_PAGES else None
)
"""None: Unicorn counts."""

_PLACES: Final = {
    _FAULTING: layout.FAULTING_CODE,
    _RIP: layout.RIP,
    _CODE_BASE: layout.SEGMENTS + 24 + 8,
    _CR2: layout.CONTROL_REGISTERS + 16,
    _ERROR_CODE: layout.ERROR_CODE,
    _OLD_EXCEPTION: layout.OLD_EXCEPTION,
    _IS_SOFTWARE_INTERRUPT: layout.EXCEPTION_IS_INT,
    _FLAGS_ARE: layout.CC_OP,
    _FLAGS: layout.CC_SRC,
    _STATE: 0,
    _INTERCEPTS: layout.INTERCEPT,
}
"""Of the CPU state."""
_PASSED: Final = {
    "interrupt": (_INTERRUPT, "kev_on_interrupt"),
    "invalid_instruction": (_INVALID_INSTRUCTION, "kev_on_invalid_instruction"),
    "in": (_IN, "kev_on_in"),
    "out": (_OUT, "kev_on_out"),
}


def _without_giving_way(library: ctypes.CDLL) -> ctypes.PyDLL:
    """The same library, for functions that are over sooner than the interpreter's lock could be given away."""
    return ctypes.PyDLL(library._name, handle=library._handle)


class Counting:
    """Counts what one emulated CPU executes. To be made before callbacks are connected; nothing is counted before `begin`."""

    __slots__ = (
        "_address",
        "_blocks",
        "_cpu",
        "_devices",
        "_instructions",
        "_library",
        "_native_run",
        "_native_switch",
        "_native_turn",
        "_structure",
        "_uc",
        "_words",
        "counter",
        "limit",
    )

    def __init__(self, library: ctypes.CDLL, uc: EmulatedCpu, cpu: CpuMemory, memory: HostMemory, injected: int) -> None:
        """`library` is `NATIVE`, and `injected` the host-physical address where the VMCB says what VMRUN injects."""
        self._library: Final = library
        self._uc: Final = uc
        self._cpu: Final = cpu
        self._blocks: Hook | None = None
        self._instructions: Hook | None = None
        self._devices: Final[list[Structure]] = []
        structure = self._structure = Structure(_WORDS)
        words = self._words = structure.words
        address = structure.address
        self.counter: Final = ctypes.c_uint64.from_address(address + 8 * _COUNTER)
        """As `CpuMemory.counter`."""
        self.limit: Final = ctypes.c_uint64.from_address(address + 8 * _LIMIT)
        """As `CpuMemory.count_limit`."""
        words[_NEXT_FLAGS] = cpu.cpu + _NEXT_FLAGS_OF_CPU
        words[_LEAVE] = ctypes.addressof(cpu.leave_chain)
        words[_WHOLE_INSTRUCTIONS] = ctypes.addressof(cpu.whole_instructions)
        words[_LAST] = uc.handle + LAST_OF_UC
        words[_DEVICE_ACCESS] = cpu.cpu + _DEVICE_ACCESS_OF_CPU
        for index, offset in _PLACES.items():
            words[index] = cpu.address + offset
        words[_INJECTED] = memory.address + injected
        first_page = libunicorn.ram_address(uc.handle, memory.address)
        words[_MEMORY], words[_FIRST_PAGE], words[_END] = memory.address, first_page, first_page + memory.size
        words[_UC] = uc.handle
        words[_CPU] = cpu.cpu
        words[_TRANSLATOR] = quad(uc.handle + TRANSLATOR_OF_UC)
        for index, name in _FUNCTIONS.items():
            words[index] = libunicorn.function_address(name) or 0
        run = self._native_run = library.kev_run
        run.argtypes = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p)
        turn = self._native_turn = library.kev_take_turn
        turn.argtypes = (ctypes.c_uint64,) * 4
        self._address: Final = address
        switch = self._native_switch = _without_giving_way(library).kev_switch
        switch.argtypes = (ctypes.c_void_p,) * 4

    # What the CPU calls.

    def passes(self, what: str, callback: object) -> tuple[int, int]:
        """See `kev.engine.amdv.libunicorn.Counter`."""
        index, function = _PASSED[what]
        self._words[index] = address_of(callback)
        return address_of(self._library[function]), self._structure.address

    def passes_accesses(self, load: object, load_data: int | None, store: object) -> tuple[int, int, int]:
        device = Structure(_DEVICE_WORDS)
        device.words[:] = memoryview(array("Q", (self._structure.address, address_of(load), load_data or 0, address_of(store))))
        self._devices.append(device)
        library = self._library
        return address_of(library.kev_load_from_device), address_of(library.kev_store_to_device), device.address

    def run(self, handle: int, rip: int, instructions: int) -> int:
        status: int = self._native_run(handle, rip, instructions, self._structure.address)
        return status

    def switch(self, handle: int, old: int, new: int) -> int:
        status: int = self._native_switch(handle, old, new, self._structure.address)
        return status

    def take_turn(self, old: int, new: int, instructions: int) -> int:
        status: int = self._native_turn(self._address, old, new, instructions)
        return status

    def limit_own_stores(self, most: int) -> None:
        """What runs from now on ends behind so many stores to the block of instructions that they are in; 0: none does that."""
        self._words[_OWN_STORES_LEFT] = most

    # Whether it counts.

    def is_sure(self, vmrun: int) -> bool:
        """Whether all is where it is expected. The CPU has just executed the VMRUN at this address, and nothing behind it."""
        uc, cpu = self._uc.handle, self._cpu.cpu
        if not blocks.are_found(uc, cpu, vmrun):
            return False
        if half(cpu + _CAN_ACCESS_DEVICES_OF_CPU) != 1 or half(uc + _NESTING_OF_UC):
            return False
        return half(cpu + _NEXT_FLAGS_OF_CPU) == _USUAL_FLAGS

    def begin(self) -> None:
        """What is translated from now on counts."""
        if self._blocks is None:
            self._blocks = self._uc.on_block_natively(address_of(self._library.kev_count_block), self._structure.address)
        if self._instructions is None:
            function = address_of(self._library.kev_count_instruction)
            hook = self._instructions = self._uc.on_instructions_natively(function, self._structure.address)
            self._words[_WHERE_TO_COUNT] = hook.number + _RANGE_OF_HOOK
            _set_range(hook, _NOWHERE)
        _set_range(self._blocks, _EVERYWHERE)
        self._words[_COUNTS] = 1

    def end(self) -> None:
        """What is translated from now on does not count."""
        if self._blocks is not None:
            _set_range(self._blocks, _NOWHERE)
        if self._instructions is not None:
            # While another hook is called before instructions, the CPU calls all of them in a slower way.
            self._uc.remove(self._instructions)
            self._instructions = None
        words = self._words
        words[_BY_INSTRUCTION] = words[_CURRENT] = words[_COUNTS] = 0

    @property
    def by_instruction(self) -> bool:
        """The block begun last has been counted by instruction: flags are as Unicorn's own counter leaves them."""
        return self._words[_BY_INSTRUCTION] != 0


def _set_range(hook: Hook, addresses: tuple[int, int]) -> None:
    """Says for which blocks or instructions the hook is called, among those that are translated from now on."""
    (ctypes.c_uint64 * 2).from_address(hook.number + _RANGE_OF_HOOK)[:] = list(addresses)
