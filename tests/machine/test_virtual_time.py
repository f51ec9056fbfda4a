"""Time that is derived from what a guest does: waits by polling, and timers, wherever slices end."""

import struct

import pytest

import kev
from kev.guests.images import open_image
from kev.machine.builder import MachineOptions
from kev.machine.launcher import prepare
from kev.machine.schedule import CountedScheduler
from tests.abi.calls import POWER_OFF, SHOW_RAX, kernel
from tests.boot.images import source
from tests.machine.code import code

TSC = code("""
    31 f6               ; xor esi, esi
    0f 31 89 c3         ; rdtsc; mov ebx, eax
    46                  ; 1: inc esi
    0f 31 29 d8         ; rdtsc; sub eax, ebx
    3d 40 42 0f 00      ; cmp eax, 1000000
    72 f4               ; jb 1b
    89 f0               ; mov eax, esi
""")
PIT = code("""
    31 f6               ; xor esi, esi
    b0 01 e6 61         ; gate of channel 2 on
    b0 b0 e6 43         ; channel 2, both bytes, mode 0
    b0 a9 e6 42         ; 1193 of 1,193,182 Hz
    b0 04 e6 42
    46                  ; 1: inc esi
    e4 61 a8 20         ; in al, 0x61; test al, 0x20
    74 f9               ; jz 1b
    89 f0               ; mov eax, esi
""")
LOCAL_APIC = code("""
    31 f6                           ; xor esi, esi
    c7 05 f0 00 e0 fe ff 01 00 00   ; software enable
    c7 05 e0 03 e0 fe 0b 00 00 00   ; divide by 1: 1 GHz
    c7 05 20 03 e0 fe 20 00 01 00   ; one-shot, masked
    c7 05 80 03 e0 fe 40 42 0f 00   ; initial count 1,000,000
    46                              ; 1: inc esi
    83 3d 90 03 e0 fe 00            ; cmp dword [current count], 0
    75 f6                           ; jne 1b
    89 f0                           ; mov eax, esi
""")
"""Each waits a millisecond by polling, and leaves in EAX how often it had to look."""


@pytest.mark.parametrize("wait", [TSC, PIT, LOCAL_APIC], ids=["TSC", "PIT", "local APIC"])
def test_a_millisecond_is_waited_for_in_about_as_many_polls_as_on_hardware(wait: bytes) -> None:
    report = kev.launch(source(kernel(wait + SHOW_RAX + POWER_OFF)), memory=16 << 20, seed=1)
    assert report.output is not None
    polls = struct.unpack("<I", report.output)[0]
    assert 500 < polls < 2_500


@pytest.mark.parametrize("turn", [100, 1_000])
def test_slices_change_nothing_about_when_exits_and_timers_come(turn: int) -> None:
    assert _end_of_timer_guest(turn) == _end_of_timer_guest(20_000)


def _end_of_timer_guest(turn: int) -> tuple[int, int, bytes]:
    output = bytearray()
    with open_image("timer") as (image, _):
        options = MachineOptions(virtual_time=True, boot_time=0)
        vm = prepare(image, output=output.extend, options=options).vm
        scheduler = CountedScheduler(turn)
        while vm.ending is None:
            vm.step(scheduler)
        vm.engine.close()
    return vm.vcpus[0].state.instructions, vm.clock.now(), bytes(output)
