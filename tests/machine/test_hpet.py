"""The event timer of a whole machine."""

import pytest

import kev
from tests.abi.calls import POWER_OFF, SHOW_RAX, kernel
from tests.boot.images import source
from tests.machine.code import code


@pytest.mark.parametrize("seed", [None, 5])
def test_a_kernel_waits_for_the_counter(seed: int | None) -> None:
    text = code(
        """
        b8 01 00 00 00 a3 10 00 d0 fe   ; mov dword [CONFIGURATION], 1: enabled
        a1 f0 00 d0 fe 3d 10 27 00 00   ; 1: mov eax, [COUNTER]; cmp eax, 10000: 100 us
        72 f4                           ; jb 1b
        a1 04 00 d0 fe                  ; mov eax, [CAPABILITIES + 4]
        """
    )
    report = kev.launch(source(kernel(text + SHOW_RAX + POWER_OFF)), memory=16 << 20, timeout=30, seed=seed)
    assert (report.exit_code, report.output) == (0, (10_000_000).to_bytes(4, "little"))
    assert report.unanswered is None
