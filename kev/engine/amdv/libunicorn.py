"""The part of libunicorn that this engine uses, called without Unicorn's own Python binding.

That binding takes longer to import than a small guest needs to boot, and wraps every callback twice. It is not imported here.
Signatures and numbers: unicorn.h and x86.h of Unicorn 2.1.
"""

import ctypes
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from kev.addressing import PAGE_SIZE
from kev.engine.amdv import library
from kev.engine.amdv.code_buffer import check_room
from kev.named_tuple import NamedTuple

_ARCH_X86: Final = 4
_MODE_64: Final = 8
_CPU_EPYC_ROME: Final = 37
_PROT_ALL: Final = 7

_HOOK_INTR: Final = 1 << 0
_HOOK_INSN: Final = 1 << 1
_HOOK_CODE: Final = 1 << 2
_HOOK_BLOCK: Final = 1 << 3
_HOOK_MEM_READ_PROT: Final = 1 << 7
_HOOK_MEM_READ: Final = 1 << 10
_HOOK_MEM_WRITE: Final = 1 << 11
_HOOK_INSN_INVALID: Final = 1 << 14
_HOOK_EDGE_GENERATED: Final = 1 << 15
_INS_IN: Final = 218
_INS_OUT: Final = 500
_INS_RDTSC: Final = 608
_INS_RDTSCP: Final = 609
_INS_SYSCALL: Final = 699
_INS_SYSENTER: Final = 700

_CTL_WRITE: Final = 1 << 30
_CTL_ARGUMENTS_SHIFT: Final = 26
_CTL_USE_EXITS: Final = 4
_CTL_EXITS: Final = 6
_CTL_CPU_MODEL: Final = 7
_CTL_TB_FLUSH: Final = 10
_CTL_TLB_FLUSH: Final = 11
_CTL_TCG_BUFFER_SIZE: Final = 13

TRANSLATED_CODE: Final = 128 << 20
"""Bytes of host code, beyond which all that was translated is forgotten: four times what a Linux kernel executes while it boots.

Unicorn's own limit is 1 GiB, and a guest that runs through memory comes to that in seconds.
"""

REG_EFLAGS: Final = 25
REG_CR0: Final = 50
REG_CR4: Final = 54
REG_FPCW: Final = 246
_REG_MSR: Final = 248
REG_MXCSR: Final = 249
GENERAL_REGISTERS: Final = (35, 38, 40, 37, 44, 36, 43, 39, *range(106, 114))
"""In the order of their numbers in instructions: RAX RCX RDX RBX RSP RBP RSI RDI R8-R15."""

WRITE: Final = 17
"""The kind of an access that is a store; a load is 16."""


class EmulationError(Exception):
    """libunicorn could not do what it was asked for."""


_quick: Final = library.load()
_long: Final = ctypes.CDLL(_quick._name, handle=_quick._handle)

LOADS_DR7: Final = hasattr(_quick, "cpu_x86_update_dr7_x86_64")
"""Unicorn's interface has no function that loads DR7, but most of its builds export QEMU's."""

_HANDLE: Final = ctypes.c_void_p
_INT: Final = ctypes.c_int
_UINT32: Final = ctypes.c_uint32
_UINT64: Final = ctypes.c_uint64
_POINTER: Final = ctypes.c_void_p


def _function(library: ctypes.CDLL, name: str, *parameters: type) -> Callable[..., int]:
    function = getattr(library, name)
    function.restype = _INT
    function.argtypes = parameters
    return function  # type: ignore[no-any-return]


_open: Final = _function(_quick, "uc_open", _INT, _INT, _POINTER)
_close: Final = _function(_quick, "uc_close", _HANDLE)
_control: Final = _function(_quick, "uc_ctl", _HANDLE, _INT)
_emu_start: Final = _function(_long, "uc_emu_start", _HANDLE, _UINT64, _UINT64, _UINT64, ctypes.c_size_t)
_emu_stop: Final = _function(_quick, "uc_emu_stop", _HANDLE)
_mem_map_ptr: Final = _function(_quick, "uc_mem_map_ptr", _HANDLE, _UINT64, _UINT64, _UINT32, _POINTER)
_mmio_map: Final = _function(_quick, "uc_mmio_map", _HANDLE, _UINT64, _UINT64, _POINTER, _POINTER, _POINTER, _POINTER)
_hook_add: Final = _function(_quick, "uc_hook_add", _HANDLE, _POINTER, _INT, _POINTER, _POINTER, _UINT64, _UINT64)
_hook_del: Final = _function(_quick, "uc_hook_del", _HANDLE, ctypes.c_size_t)
_mem_unmap: Final = _function(_quick, "uc_mem_unmap", _HANDLE, _UINT64, _UINT64)
_reg_read: Final = _function(_quick, "uc_reg_read", _HANDLE, _INT, _POINTER)
_reg_write: Final = _function(_quick, "uc_reg_write", _HANDLE, _INT, _POINTER)
_context_alloc: Final = _function(_quick, "uc_context_alloc", _HANDLE, _POINTER)
_context_free: Final = _function(_quick, "uc_context_free", _POINTER)
_context_save: Final = _function(_quick, "uc_context_save", _HANDLE, _POINTER)
_context_restore: Final = _function(_quick, "uc_context_restore", _HANDLE, _POINTER)
_context_reg_read: Final = _function(_quick, "uc_context_reg_read", _POINTER, _INT, _POINTER)


def _exported(name: str, result: type | None, *parameters: type) -> Callable[..., Any] | None:
    """A function of QEMU's, which Unicorn does not document; None if this build does not export it."""
    function = getattr(_quick, name, None)
    if function is not None:
        function.restype, function.argtypes = result, parameters
    return function


def function_address(name: str) -> int | None:
    """Where a function of QEMU's is in this process; None if this build does not export it."""
    function = getattr(_quick, name, None)
    return None if function is None else ctypes.cast(function, _POINTER).value


def exports(names: Iterable[str]) -> bool:
    """Whether this build has all of these functions."""
    return all(hasattr(_quick, name) for name in names)


_find_block: Final = _exported("tcg_tb_lookup_x86_64", _POINTER, _POINTER, _POINTER)


def find_block(translator: int, code: int) -> int | None:
    """Where QEMU describes the block that it has translated to the `code` at an address of this process."""
    assert _find_block is not None
    block: int | None = _find_block(translator, code)
    return block


_restore_state: Final = _exported("cpu_restore_state_x86_64", ctypes.c_bool, _POINTER, _POINTER, ctypes.c_bool)
RESTORES_RIP: Final = _restore_state is not None


def restore_rip(cpu: int, code: int) -> None:
    """RIP is that of the instruction whose translation has called from `code`, an address of this process.

    What the arithmetic flags are computed from is as it was there.
    """
    assert _restore_state is not None
    _restore_state(cpu, code, True)


_BLOCK_VISITED: Final = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER, _POINTER)
_visit_blocks: Final = _exported("tcg_tb_foreach_x86_64", None, _POINTER, _BLOCK_VISITED, _POINTER)
FINDS_BLOCKS: Final = _find_block is not None and _visit_blocks is not None


def all_blocks(translator: int) -> list[int]:
    """Where QEMU describes the blocks that it has translated, and not forgotten."""
    assert _visit_blocks is not None
    found: list[int] = []

    def visit(_key: int, block: int, _data: object) -> int:
        found.append(block)
        return 0

    _visit_blocks(translator, _BLOCK_VISITED(visit), None)
    return found


_ram_address: Final = _exported("qemu_ram_addr_from_host_x86_64", _UINT64, _HANDLE, _POINTER)


def ram_address(handle: int, memory: int) -> int:
    """Where QEMU has the memory that this process has at `memory`."""
    assert _ram_address is not None
    address: int = _ram_address(handle, memory)
    return address


_forget_range: Final = _exported("tb_invalidate_phys_range_x86_64", None, _HANDLE, _UINT64, _UINT64)
CAN_FORGET_PAGES: Final = sys.platform == "linux" and _ram_address is not None and _forget_range is not None
"""Elsewhere translated code must not be changed but by Unicorn itself, which knows how it is protected."""

_EVERYWHERE: Final = (1, 0)

# Every callback is given the handle first and the hook's user data, which is not used, last.
_INTERRUPT: Final = ctypes.CFUNCTYPE(None, _HANDLE, _UINT32, _POINTER)
_INVALID_INSTRUCTION: Final = ctypes.CFUNCTYPE(ctypes.c_bool, _HANDLE, _POINTER)
_IN: Final = ctypes.CFUNCTYPE(_UINT32, _HANDLE, _UINT32, _INT, _POINTER)
_OUT: Final = ctypes.CFUNCTYPE(None, _HANDLE, _UINT32, _INT, _UINT32, _POINTER)
_SYSTEM_CALL: Final = ctypes.CFUNCTYPE(None, _HANDLE, _POINTER)
_RDTSC: Final = ctypes.CFUNCTYPE(_INT, _HANDLE, _POINTER)
_INSTRUCTION: Final = ctypes.CFUNCTYPE(None, _HANDLE, _UINT64, _UINT32, _POINTER)
_MEMORY_ACCESSED: Final = ctypes.CFUNCTYPE(None, _HANDLE, _INT, _UINT64, _INT, ctypes.c_int64, _POINTER)
_EDGE_GENERATED: Final = ctypes.CFUNCTYPE(None, _HANDLE, _POINTER, _POINTER, _POINTER)
_MEMORY_REFUSED: Final = ctypes.CFUNCTYPE(ctypes.c_bool, _HANDLE, _INT, _UINT64, _INT, ctypes.c_int64, _POINTER)
_BLOCK_NOTED: Final = ctypes.CFUNCTYPE(_INT, _HANDLE, _POINTER, _POINTER, _POINTER)
_MMIO_READ: Final = ctypes.CFUNCTYPE(_UINT64, _HANDLE, _UINT64, ctypes.c_uint, _POINTER)
_MMIO_WRITE: Final = ctypes.CFUNCTYPE(None, _HANDLE, _UINT64, ctypes.c_uint, _UINT64, _POINTER)


def version() -> str:
    """The library's version, such as "2.1.4"."""
    combined = _function(_quick, "uc_version", _POINTER, _POINTER)(None, None)
    return f"{combined >> 24 & 0xFF}.{combined >> 16 & 0xFF}.{combined >> 8 & 0xFF}"


def _check(status: int) -> None:
    if status:
        describe = _quick.uc_strerror
        describe.restype = ctypes.c_char_p
        raise EmulationError(describe(status).decode())


def block_range(block: int) -> tuple[int, int]:
    """The linear address and the size in bytes of the instructions in a translated block (`uc_tb`)."""
    return ctypes.c_uint64.from_address(block).value, ctypes.c_uint16.from_address(block + 10).value


class Hook(NamedTuple):
    """Something that the library calls."""

    number: int
    """Where the library keeps it, in this process."""
    callback: object
    """The library does not keep it alive."""


class Context:
    """The registers of one vCPU that is not the current one."""

    __slots__ = ("__weakref__", "address")

    def __init__(self, cpu: "EmulatedCpu") -> None:
        """A copy of what `cpu` holds now."""
        pointer = _POINTER()
        _check(_context_alloc(cpu.handle, ctypes.byref(pointer)))
        assert pointer.value is not None
        self.address: Final = pointer.value
        """Of the saved registers and what precedes them, in this process."""
        weakref.finalize(self, _context_free, self.address).atexit = False
        cpu.save(self)

    def read_register(self, register: int) -> int:
        """Nothing of the CPU changes: it would forget its TLB if these registers were put into it."""
        number = _UINT64()
        _check(_context_reg_read(self.address, register, ctypes.byref(number)))
        return number.value


class Counter(Protocol):
    """What counts instructions in the library's place."""

    def passes(self, what: str, callback: object) -> tuple[int, int]:
        """The function that the library calls for `callback`, which it calls in turn, and its last argument.

        `what`: "interrupt", "invalid_instruction", "in" or "out".
        """

    def passes_accesses(self, load: object, load_data: int | None, store: object) -> tuple[int, int, int]:
        """The same for loads and stores of a device."""

    def run(self, handle: int, rip: int, instructions: int) -> int:
        """uc_emu_start."""

    def switch(self, handle: int, old: int, new: int) -> int:
        """uc_context_save to `old`, uc_context_restore from `new`, and the TLB is flushed."""

    def take_turn(self, old: int, new: int, instructions: int) -> int:
        """`switch`, unless it is the same, but for what exits; and `run`, from its RIP on. Negative if it has ended early."""


class EmulatedCpu:
    """One emulated x86-64 CPU with its physical memory.

    Callbacks are called with the handle first and with something meaningless last. The first exception that one of them raises ends
    the run and leaves `run`.
    """

    __slots__ = ("__weakref__", "_callbacks", "_devices", "_hooks", "_number", "_raised", "called", "counter", "handle")

    def __init__(self) -> None:
        """HostMemoryError if there is no room for the code that it translates."""
        check_room()
        handle = _HANDLE()
        _check(_open(_ARCH_X86, _MODE_64, ctypes.byref(handle)))
        assert handle.value is not None
        self.handle: Final = handle.value
        """The address of uc_struct, in this process."""
        weakref.finalize(self, _close, self.handle).atexit = False
        self._callbacks: list[object] = []
        """The library does not keep them alive."""
        self._hooks: list[Hook] = []
        self._devices: list[tuple[int, int]] = []
        self._raised: BaseException | None = None
        self.called = False
        """Something here has been called by the library since this was set to False."""
        self.counter: Counter | None = None
        """Knows of every callback that is connected while it is there."""
        self._number = _UINT64()
        self._write_control(_CTL_CPU_MODEL, _INT(_CPU_EPYC_ROME))
        self._write_control(_CTL_TCG_BUFFER_SIZE, ctypes.c_uint32(TRANSLATED_CODE))
        # An end address would make Unicorn translate the page before it after every stop, which faults and loses exit_info_2.
        self._write_control(_CTL_USE_EXITS, _INT(1))
        self._write_control(_CTL_EXITS, _POINTER(None), ctypes.c_size_t(0))

    def _write_control(self, what: int, *arguments: Any) -> None:
        _check(_control(self.handle, _CTL_WRITE | len(arguments) << _CTL_ARGUMENTS_SHIFT | what, *arguments))

    # Memory.

    def map_memory(self, address: int, size: int, host_address: int) -> None:
        """Puts `size` bytes of this process's memory behind physical `address`."""
        _check(_mem_map_ptr(self.handle, address, size, _PROT_ALL, host_address))

    def map_device(self, address: int, size: int, load: Callable[..., int], store: Callable[..., None]) -> None:
        """Makes loads and stores at physical `address` call `load(_, offset, size, _)` and `store(_, offset, size, value, _)`."""
        loader, storer = _MMIO_READ(self._guard(load)), _MMIO_WRITE(self._guard(store))
        self._map_device(address, size, loader, None, storer)

    def map_native_device(
        self, address: int, size: int, native: tuple[int, int], load: Callable[..., int], store: Callable[..., None]
    ) -> int:
        """The same, but loads call the function at `native[0]`, with `native[1]` as the last argument.

        Returns the address of one that calls `load`.
        """
        loader, storer = _MMIO_READ(self._guard(load)), _MMIO_WRITE(self._guard(store))
        self._callbacks.append(loader)
        self._map_device(address, size, ctypes.cast(native[0], _MMIO_READ), native[1], storer)
        return ctypes.cast(loader, _POINTER).value or 0

    def map_device_of_functions(
        self, address: int, size: int, native: tuple[int, int, int], load: Callable[..., int], store: Callable[..., None]
    ) -> tuple[int, int]:
        """The same, but loads and stores call the first two functions of `native`, with the third as their last argument.

        Returns the addresses of some that call `load` and `store`. Not where instructions are counted natively.
        """
        loader, storer = _MMIO_READ(self._guard(load)), _MMIO_WRITE(self._guard(store))
        self._callbacks += (loader, storer)
        native_load, native_store, data = native
        _check(_mmio_map(self.handle, address, size, native_load, data, native_store, data))
        self._devices.append((address, size))
        return ctypes.cast(loader, _POINTER).value or 0, ctypes.cast(storer, _POINTER).value or 0

    def _map_device(self, address: int, size: int, loader: object, data: int | None, storer: object) -> None:
        self._callbacks += (loader, storer)
        store_data = None
        if self.counter is not None:
            loader, storer, data = self.counter.passes_accesses(loader, data, storer)
            store_data = data
        _check(_mmio_map(self.handle, address, size, loader, data, storer, store_data))
        self._devices.append((address, size))

    def disconnect(self) -> None:
        """Removes every hook and device."""
        for hook in self._hooks:
            _check(_hook_del(self.handle, hook.number))
        for address, size in self._devices:
            _check(_mem_unmap(self.handle, address, size))
        self._hooks.clear()
        self._devices.clear()
        self._callbacks.clear()
        self.counter = None

    def flush_tlb(self) -> None:
        """Forgets every translated address, guest and nested."""
        _check(_control(self.handle, _CTL_WRITE | _CTL_TLB_FLUSH))

    def flush_code(self) -> None:
        """Forgets every translated instruction."""
        _check(_control(self.handle, _CTL_WRITE | _CTL_TB_FLUSH))

    def forget_code_of(self, memory: int, pages: Iterable[int]) -> None:
        """Forgets the translated instructions of the 4 KiB pages at `pages` in the memory that this process has at `memory`.

        Unicorn's own interface takes what the current tables of the guest map; most of its builds export QEMU's. With others,
        every translated instruction is forgotten.
        """
        if not CAN_FORGET_PAGES:
            self.flush_code()
            return
        assert _ram_address is not None
        assert _forget_range is not None
        handle = self.handle
        first = _ram_address(handle, memory)
        for page in pages:
            _forget_range(handle, first + page, first + page + PAGE_SIZE)

    # Hooks.

    def on_interrupt(self, callback: Callable[..., None]) -> None:
        """`callback(_, number, _)` at every exception, and at every exit with 0x100 added to its code."""
        self._hook_counted(_HOOK_INTR, _INTERRUPT(self._guard(callback)), "interrupt")

    def on_invalid_instruction(self, callback: Callable[..., bool]) -> None:
        """`callback(_, _)` says whether to go on."""
        self._hook_counted(_HOOK_INSN_INVALID, _INVALID_INSTRUCTION(self._guard(callback)), "invalid_instruction")

    def on_translation(self, callback: Callable[..., object]) -> None:
        """`callback(_, block, _, _)` when a block was translated that is about to be executed; see `block_range`."""
        self._hook(_HOOK_EDGE_GENERATED, _EDGE_GENERATED(self._guard(callback)))

    def on_translation_natively(self, native: tuple[int, int], callback: Callable[..., int]) -> int:
        """The same, but with the function at `native[0]`, whose last argument is `native[1]`.

        Returns the address of one that calls `callback`, which may return a number.
        """
        asked = _BLOCK_NOTED(self._guard(callback))
        self._callbacks.append(asked)
        self._hook(_HOOK_EDGE_GENERATED, native[0], data=native[1])
        return ctypes.cast(asked, _POINTER).value or 0

    def look_at_stores(self, first: int, last: int) -> None:
        """Every store to the physical addresses `first` to `last` is looked at: whether it changes translated instructions.

        Otherwise the CPU looks at the first store only that is made through a mapping which does not permit execution, until the
        mapping is looked up anew. It must look where somebody might want to be told, so this hook wants to be told of something
        that does not happen: reads of memory that was mapped without the right to read it.
        """
        self._hook(_HOOK_MEM_READ_PROT, _MEMORY_REFUSED(lambda *_: False), within=(first, last))

    def on_instruction(self, address: int, callback: Callable[..., None]) -> "Hook":
        """`callback(_, address, _, _)` before the instruction at a linear address is executed."""
        return self._hook(_HOOK_CODE, _INSTRUCTION(self._guard(callback)), within=(address, address))

    def on_instructions(self, callback: Callable[..., None]) -> "Hook":
        """The same, for every instruction of code that is counted."""
        return self._hook(_HOOK_CODE, _INSTRUCTION(self._guard(callback)))

    def on_access(self, first: int, last: int, callback: Callable[..., None]) -> "Hook":
        """`callback(_, kind, address, size, value, _)` before an access that begins at the physical addresses `first` to `last`.

        `kind` is `WRITE` for a store.
        """
        kinds = _HOOK_MEM_READ | _HOOK_MEM_WRITE
        return self._hook(kinds, _MEMORY_ACCESSED(self._guard(callback)), within=(first, last))

    def remove(self, hook: "Hook") -> None:
        """Its callback is not called any more. Translated code still looks for it until it is forgotten."""
        _check(_hook_del(self.handle, hook.number))
        self._hooks.remove(hook)

    def on_in(self, callback: Callable[..., int]) -> None:
        """`callback(_, port, size, _)` returns what IN reads."""
        self._hook_counted(_HOOK_INSN, _IN(self._guard(callback)), "in", _INT(_INS_IN))

    def on_out(self, callback: Callable[..., None]) -> None:
        """`callback(_, port, size, value, _)`."""
        self._hook_counted(_HOOK_INSN, _OUT(self._guard(callback)), "out", _INT(_INS_OUT))

    def on_syscall(self, callback: Callable[..., None]) -> None:
        """`callback(_, _)`."""
        self._hook(_HOOK_INSN, _SYSTEM_CALL(self._guard(callback)), _INT(_INS_SYSCALL))

    def on_sysenter(self, callback: Callable[..., None]) -> None:
        """`callback(_, _)`."""
        self._hook(_HOOK_INSN, _SYSTEM_CALL(self._guard(callback)), _INT(_INS_SYSENTER))

    def on_rdtsc(self, callback: Callable[..., int]) -> None:
        """`callback(_, _)` says whether it has done RDTSC itself: 1, or 0."""
        self._hook(_HOOK_INSN, _RDTSC(self._guard(callback)), _INT(_INS_RDTSC))

    def on_rdtscp(self, callback: Callable[..., int]) -> None:
        """The same for RDTSCP."""
        self._hook(_HOOK_INSN, _RDTSC(self._guard(callback)), _INT(_INS_RDTSCP))

    def on_rdtsc_natively(self, rdtsc: int, rdtscp: int, data: int) -> None:
        """Both, with functions at addresses of this process, and their last argument."""
        self._hook(_HOOK_INSN, rdtsc, _INT(_INS_RDTSC), data=data)
        self._hook(_HOOK_INSN, rdtscp, _INT(_INS_RDTSCP), data=data)

    def on_block_natively(self, function: int, data: int) -> Hook:
        """The function at an address of this process is called at the beginning of each block, with `data` as the last argument."""
        return self._hook(_HOOK_BLOCK, function, data=data)

    def on_instructions_natively(self, function: int, data: int) -> Hook:
        """The same before every instruction."""
        return self._hook(_HOOK_CODE, function, data=data)

    def _hook_counted(self, kind: int, callback: object, what: str, *arguments: object) -> None:
        if self.counter is None:
            self._hook(kind, callback, *arguments)
        else:
            self._callbacks.append(callback)
            function, data = self.counter.passes(what, callback)
            self._hook(kind, function, *arguments, data=data)

    def _hook(
        self, kind: int, callback: object, *arguments: object, within: tuple[int, int] = _EVERYWHERE, data: int | None = None
    ) -> "Hook":
        number = ctypes.c_size_t()
        _check(_hook_add(self.handle, ctypes.byref(number), kind, callback, data, *within, *arguments))
        hook = Hook(number.value, callback)
        self._hooks.append(hook)
        return hook

    def _guard(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """No exception may pass through the library: it waits until the run has ended."""

        def guarded(*arguments: int) -> Any:
            self.called = True
            try:
                return callback(*arguments)
            except BaseException as error:
                if self._raised is None:
                    self._raised = error
                _emu_stop(self.handle)
                return 0

        return guarded

    # Registers.

    def read_register(self, register: int) -> int:
        self._number.value = 0
        _check(_reg_read(self.handle, register, ctypes.byref(self._number)))
        return self._number.value

    def write_register(self, register: int, value: int) -> None:
        self._number.value = value
        _check(_reg_write(self.handle, register, ctypes.byref(self._number)))

    def write_msr(self, index: int, value: int) -> None:
        _check(_reg_write(self.handle, _REG_MSR, (_UINT64 * 2)(index, value)))

    def write_dr7(self, state: int, value: int) -> None:
        """Loads DR7 of the CPU whose state is at `state`, and arms and disarms the breakpoints that it enables.

        EmulationError unless `LOADS_DR7`.
        """
        if not LOADS_DR7:
            raise EmulationError("this build of libunicorn cannot load DR7 from outside of the guest")
        _quick.cpu_x86_update_dr7_x86_64(_POINTER(state), _UINT64(value))

    def save(self, context: Context) -> None:
        _check(_context_save(self.handle, context.address))

    def restore(self, context: Context) -> None:
        _check(_context_restore(self.handle, context.address))

    def switch(self, old: Context, new: Context) -> None:
        """What is executed next is of `new`, and every translated address is forgotten."""
        if self.counter is not None:
            _check(self.counter.switch(self.handle, old.address, new.address))
        else:
            self.save(old)
            self.restore(new)
            self.flush_tlb()

    # Running.

    def run(self, rip: int, instructions: int) -> None:
        """Executes from `rip` on until `stop`, or so many instructions; 0 for no limit. Other threads of Python run meanwhile."""
        self._end(_emu_start(self.handle, rip, 0, 0, instructions))

    def run_counted(self, rip: int, instructions: int) -> None:
        """The same, counted by `counter`."""
        assert self.counter is not None
        self._end(self.counter.run(self.handle, rip, instructions))

    def take_turn(self, old: Context, new: Context, instructions: int) -> bool:
        """`switch` to `new`, if that is another one, and `run_counted`. Of both, the same exits.

        Whether all instructions were executed and no callback was called.
        """
        assert self.counter is not None
        self.called = False
        status = self.counter.take_turn(old.address, new.address, instructions)
        if status or self.called:
            self._end(max(status, 0))
            return False
        return True

    def _end(self, status: int) -> None:
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised
        _check(status)

    def stop(self) -> None:
        """Called from a callback: the run ends when it returns."""
        _check(_emu_stop(self.handle))
