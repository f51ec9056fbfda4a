"""A guest that changes its page tables and does not tell the TLB sees what is still in that: the same in every run."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kev.addressing import MIB
from kev.engine.amdv.factory import AmdvFactory
from kev.engine.amdv.pool import HostPool
from kev.engine.amdv.tlb_fills import NATIVE
from kev.engine.base import Budget
from kev.machine.builder import MachineOptions
from kev.machine.digest import all_registers
from kev.machine.launcher import prepare, run
from kev.machine.vcpu import Vcpu
from kev.race.guest.source import MemorySource
from kev.race.guest.start import guest_machine
from kev.race.strategy.free import UnpreemptedScheduler
from tests.boot.images import multiboot1_header
from tests.machine.code import code
from tests.race.small_guests import subject

needs_fills = pytest.mark.skipif(NATIVE is None, reason="the CPU decides by the host's clock how large its TLB is")

_MEMORY = 8 * MIB
_LOAD = 0x8000
_ADDRESSES_IN_HEADER = 1 << 16
_WINDOW = 0.11
"""Seconds in which QEMU would find out how much of a TLB is used."""

_START = code("""
    bf 00 10 01 00      ; mov edi, 0x11000
    b8 07 00 00 00      ; mov eax, 7
    b9 00 04 00 00      ; mov ecx, 1024
    ab                  ; stosd
    05 00 10 00 00      ; add eax, 0x1000
    e2 f8               ; loop: 1,024 pages, one to one
    c7 05 00 00 01 00 07 10 01 00   ; mov dword [0x10000], 0x11007
    b8 00 00 01 00      ; mov eax, 0x10000
    0f 22 d8            ; mov cr3, eax
    0f 20 c0            ; mov eax, cr0
    0d 00 00 01 80      ; or eax, PG | WP
    0f 22 c0            ; mov cr0, eax
""")
_TOUCH = code("""
    b9 00 01 00 00      ; mov ecx, 256
    89 c8               ; mov eax, ecx
    c1 e0 0c            ; shl eax, 12
    8a 00               ; mov al, [eax]
    41                  ; inc ecx
    81 f9 00 04 00 00   ; cmp ecx, 1024
    75 f0               ; jne: 768 pages
""")
_CLEAR = code("""
    b9 00 01 00 00      ; mov ecx, 256
    80 24 8d 00 10 01 00 df ; and byte [0x11000 + ecx * 4], ~A
    41                  ; inc ecx
    81 f9 00 04 00 00   ; cmp ecx, 1024
    75 ef               ; jne
""")
_COUNT = code("""
    31 db               ; xor ebx, ebx
    b9 00 01 00 00      ; mov ecx, 256
    0f ba 24 8d 00 10 01 00 05  ; bt dword [0x11000 + ecx * 4], A
    83 d3 00            ; adc ebx, 0
    41                  ; inc ecx
    81 f9 00 04 00 00   ; cmp ecx, 1024
    75 eb               ; jne
    88 d8 e6 e9         ; mov al, bl; out 0xe9, al
    88 f8 e6 e9         ; mov al, bh; out 0xe9, al
""")
_FLUSH = code("0f 20 d8 0f 22 d8 ; mov eax, cr3; mov cr3, eax")
_PRINT = code("b0 2e e6 e9 ; mov al, '.'; out 0xe9, al")
_END = code("31 c0 e7 f4 ; xor eax, eax; out 0xf4, eax")

_PROBE = _TOUCH + _CLEAR + _TOUCH + _COUNT
"""Prints how many of the pages are no longer in the TLB when they are touched for the second time: A is set again."""
_GROW = (_TOUCH + _FLUSH) * 3
"""Gives reasons for a larger TLB."""
_IN_PROBE = 9_000
"""So many instructions of a guest have been executed there, if it begins with `_TOUCH` and `_FLUSH`."""
_WAIT = (_PRINT + _FLUSH) * 2
"""Gives none to keep it."""


def _image(*parts: bytes) -> bytes:
    text = _START + b"".join(parts) + _END
    header = multiboot1_header(_ADDRESSES_IN_HEADER, [_LOAD, _LOAD, 0, 0, _LOAD + 32])
    return header.ljust(32, b"\0") + text


def _printed(*parts: bytes, hosts: HostPool | None = None, seconds: float = 0) -> bytes:
    """What a guest prints while its host takes `seconds` for each character."""
    printed = bytearray()

    def take(data: bytes) -> None:
        printed.extend(data)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    source = MemorySource("stale", _image(*parts))
    run(prepare(source, memory=_MEMORY, seed=1, output=take, engines=AmdvFactory(hosts=hosts)))
    return bytes(printed)


@needs_fills
def test_a_host_that_takes_its_time_is_not_seen_in_what_the_tlb_has_forgotten() -> None:
    parts = _GROW, _WAIT, _PROBE
    slow = _printed(*parts, seconds=_WINDOW)
    assert slow == _printed(*parts)
    assert _number(slow) < _number(_printed(_PROBE))


@needs_fills
def test_who_ran_before_is_not_seen_in_what_the_tlb_has_forgotten() -> None:
    parts, hosts = (_PROBE, _GROW), HostPool()
    assert [_printed(*parts, hosts=hosts) for _ in range(3)] == [_printed(*parts)] * 3


@needs_fills
def test_the_tlb_of_a_small_guest_becomes_small_again() -> None:
    forgets_much, forgets_little = _printed(_PROBE), _printed(_GROW, _PROBE)
    assert _number(forgets_little) < _number(forgets_much)
    assert _number(_printed(_GROW, _FLUSH * 600, _PROBE)) >= _number(forgets_much)


@needs_fills
def test_a_race_that_goes_back_is_as_one_that_begins_in_what_the_tlb_has_forgotten(tmp_path: Path) -> None:
    guest = subject(tmp_path, _image(_TOUCH, _FLUSH, _PROBE), memory=_MEMORY, after=f"instructions:{_IN_PROBE}")

    def printed(*, apart: bool) -> bytes:
        with guest_machine(guest.start, guest.limit, apart=apart) as machine:
            machine.run(UnpreemptedScheduler(), fair=True)
            return bytes(machine.output)

    first = printed(apart=True)
    assert [printed(apart=False) for _ in range(3)] == [first] * 3


@needs_fills
def test_who_looks_at_registers_is_not_seen_in_what_the_tlb_has_forgotten() -> None:
    def printed(look: Callable[[Vcpu], object]) -> bytes:
        output = bytearray()
        options = MachineOptions(vcpus=2, virtual_time=True, boot_time=0)
        vm = prepare(MemorySource("stale", _image(_GROW, _PROBE)), memory=_MEMORY, options=options, output=output.extend).vm
        while vm.ending is None:
            vm.run(vm.vcpus[0], Budget(instructions=500))
            for vcpu in vm.vcpus:
                look(vcpu)
        vm.console.close()
        vm.engine.close()
        return bytes(output)

    assert printed(all_registers) == printed(lambda vcpu: None)


def _number(printed: bytes) -> int:
    return int.from_bytes(printed[-2:], "little")
