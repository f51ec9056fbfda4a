"""Guests that attack, some at a time in a process: none takes it down, and all end within their limits."""

from collections.abc import Sequence

import pytest

import kev
import kev.machine.driving  # what all runs need, imported before they are forked
import kev.postmortem.death
from kev.exits import Vmcall
from tests.cli.programs import kernel
from tests.fuzz.contained import one_by_one, run_contained
from tests.machine.attacks import ATTACKS, HYPERCALLS
from tests.machine.code import VMCALL, code
from tests.machine.cpu import RAM, Cpu
from tests.pager.sources import BytesSource

ENDS = ("died", "exited", "limited", "timed out")
ABIS = ("keos", "kvm", "kev", "jos", "jos_vmx", "lvisor")
PARTS = 4
"""Of the attacks: a test has one of them."""
PATTERN = 0xA5
PRIVATE = 32 << 20
"""Bytes of host-physical memory, all that is allocated in the test among them."""


def without_an_end(names: Sequence[str], **wishes: object) -> dict[str, str]:
    """The attacks that do not end as a run ends, with how they do."""

    def run(number: int) -> str:
        image = BytesSource(kernel(ATTACKS[names[number]]))
        report = kev.launch(image, timeout=0.05, max_pages=2000, max_output=1 << 16, **wishes)  # type: ignore[arg-type]
        return report.ending.kind.value

    ends = {names[result[0]]: result[1] for result in run_contained(one_by_one(run), range(len(names)), 60)}
    assert list(ends) == list(names)
    return {name: end for name, end in ends.items() if end not in ENDS}


@pytest.mark.slow
@pytest.mark.parametrize("wishes", [{}, {"seed": 1}, {"vcpus": 2}], ids=str)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_guest_that_attacks_ends_within_its_limits(part: int, wishes: dict[str, object]) -> None:
    assert without_an_end(list(ATTACKS)[part::PARTS], **wishes) == {}


@pytest.mark.slow
@pytest.mark.parametrize("abi", ABIS)
def test_hypercalls_with_pointers_to_nowhere_end_within_limits(abi: str) -> None:
    assert without_an_end(list(HYPERCALLS), abi=abi) == {}


def test_what_is_the_hypervisors_cannot_be_reached() -> None:
    """A guest that fills all that it has fills no page of the host's that is not its own: no table, and no control block."""
    text = (
        code("bf 00 20 00 00 b9") + (RAM - 0x2000).to_bytes(4, "little") + code("b0 a5 f3 aa ; mov al, PATTERN; rep stosb") + VMCALL
    )
    with Cpu(text) as cpu:
        assert cpu.run() == Vmcall()
        own = {cpu.table.translate(gpa) for gpa in range(0, RAM, 4096)}
        filled = {hpa for hpa in range(0, PRIVATE, 4096) if bytes(cpu.memory.view[hpa : hpa + 4096]) == bytes([PATTERN]) * 4096}
        assert len(filled) == RAM // 4096 - 2
        assert filled < own
        assert cpu.table.root not in own
