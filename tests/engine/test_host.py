"""Hosts that run one guest after the other: the next guest cannot tell that there was one before it."""

import threading

import attrs
import pytest

from kev.addressing import MIB, PAGE_SIZE, TIB, Gpa
from kev.engine.amdv.engine import AmdvEngine
from kev.engine.amdv.factory import AmdvFactory
from kev.engine.amdv.host import Host
from kev.engine.amdv.pool import HostPool
from kev.engine.amdv.vcpu import AmdvVcpu
from kev.engine.base import Budget
from kev.exits import Exit, TripleFault, Vmcall
from kev.guests.images import open_image
from kev.host_memory import HostMemory
from kev.machine.builder import MachineOptions
from kev.machine.launcher import prepare, run
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable
from tests.machine.code import VMCALL, code
from tests.machine.cpu import CODE, PROTECTED_MODE

ENOUGH = 512 * MIB
"""Bytes of memory of a host that all guests here fit on."""


@attrs.frozen
class Outcome:
    """What a guest can see of its machine, and what it leaves."""

    exit_code: int
    output: bytes
    pages_loaded: int
    exits: dict[str, int]


def launch(name: str, hosts: HostPool | None) -> Outcome:
    output = bytearray()
    with open_image(name) as (source, guest):
        assert guest is not None
        options = MachineOptions(vcpus=guest.smp)
        engines = AmdvFactory(hosts=hosts)
        machine = prepare(
            source,
            memory=guest.memory_mib * MIB,
            options=options,
            protocol=guest.boot,
            seed=7,
            output=output.extend,
            engines=engines,
        )
        report = run(machine, timeout=60)
    return Outcome(report.exit_code, bytes(output), report.pages_loaded, report.exits)


def used_host(*guests: str) -> tuple[HostPool, Host, bytes]:
    """A host on which guests have run, in its pool, and the state its processor was made with."""
    hosts = HostPool()
    host = hosts.take(ENOUGH)
    state = bytes(host.processor.state.quads)
    hosts.give_back(host)
    for name in guests:
        launch(name, hosts)
    return hosts, host, state


@pytest.mark.parametrize("name", ["events", "smp", "user", "gKeOS"])
def test_the_processor_is_as_it_was_when_it_was_made(name: str) -> None:
    hosts, host, state = used_host(name)
    assert hosts.take(ENOUGH) is host
    assert bytes(host.processor.state.quads) == state
    assert host.processor.state.interrupt_request.value == 0


def test_memory_is_zeros_and_free() -> None:
    hosts = HostPool()
    host = hosts.take(ENOUGH)
    hosts.give_back(host)
    launch("gKeOS", hosts)
    assert hosts.take(ENOUGH) is host
    assert host.memory.allocated == 0
    assert not any(any(host.memory.page(host.memory.allocate())) for _ in range(500))


@pytest.mark.parametrize("name", ["events", "smp", "gKeOS"])
def test_a_guest_runs_as_on_a_host_of_its_own(name: str) -> None:
    hosts, host, _ = used_host("events", "smp", "gKeOS")
    assert launch(name, hosts) == launch(name, None)
    assert hosts.take(ENOUGH) is host


def test_a_guest_that_jumped_where_nothing_is_leaves_a_host_that_is_not_used_again() -> None:
    hosts, host, _ = used_host("wild")
    assert hosts.take(ENOUGH) is not host


class Bare:
    """A host, and machine code to run on it as guests of one page."""

    def __init__(self) -> None:
        self.host = Host(HostMemory(64 * MIB))
        self.released = 0

    def run(self, text: bytes) -> tuple[Exit, AmdvVcpu]:
        """What the guest ends with, and its registers. The guest has a window besides, which it does not use."""
        memory = self.host.memory
        table = PageTable(memory, NptFormat())
        engine = AmdvEngine(self.host, table, self._release)
        page = memory.allocate()
        memory.page(page)[: len(text)] = text
        table.map_page(Gpa(CODE), page)
        assert engine.map_window(Gpa(0xFEE0_0000), PAGE_SIZE) == TIB - PAGE_SIZE
        vcpu = engine.create_vcpu(0)
        engine.reset(vcpu, PROTECTED_MODE)
        exit = engine.run(vcpu, Budget(seconds=60), lambda exit: None)
        engine.close()
        engine.close()
        return exit, vcpu

    def _release(self, host: Host) -> None:
        self.released += 1
        host.reset()


def test_neither_code_nor_windows_of_the_last_guest_are_left() -> None:
    bare = Bare()
    for value in range(20):
        exit, vcpu = bare.run(bytes([0xB8, value, 0, 0, 0]) + VMCALL)
        assert (exit, vcpu.rax) == (Vmcall(), value)
    assert bare.released == 20


BREAKPOINT = code(
    """
    b8 20 10 00 00 ; mov eax, 0x1020
    0f 23 c0       ; mov dr0, eax
    b8 01 00 00 00 ; mov eax, 1
    0f 23 f8       ; mov dr7, eax
    """
)
DISARMED = code("31 c0 0f 23 f8 ; xor eax, eax; mov dr7, eax")
PAST_THE_BREAKPOINT = code("90 " * 0x40)


def test_a_host_with_armed_breakpoints_is_not_used_again() -> None:
    bare = Bare()
    assert bare.run(BREAKPOINT + VMCALL)[0] == Vmcall()
    assert bare.released == 0


def test_breakpoints_that_were_taken_back_are_gone() -> None:
    exit, _ = Bare().run(BREAKPOINT + PAST_THE_BREAKPOINT + VMCALL)
    assert isinstance(exit, TripleFault), "breakpoints work, and there is no handler"
    bare = Bare()
    assert bare.run(BREAKPOINT + DISARMED + VMCALL)[0] == Vmcall()
    assert bare.run(PAST_THE_BREAKPOINT + VMCALL)[0] == Vmcall()
    assert bare.released == 2


def test_a_launch_takes_a_host_that_is_large_enough() -> None:
    hosts = HostPool()
    small, large = hosts.take(64 * MIB), hosts.take(256 * MIB)
    hosts.give_back(small)
    hosts.give_back(large)
    assert hosts.take(128 * MIB) is large
    assert hosts.take(128 * MIB) is not small
    assert hosts.take(MIB) is small


def test_no_two_guests_share_a_host() -> None:
    hosts = HostPool()
    taken = [hosts.take(MIB) for _ in range(3)]
    for host in taken:
        hosts.give_back(host)
    assert {id(hosts.take(MIB)) for _ in range(3)} == {id(host) for host in taken}


def test_only_a_few_hosts_are_kept() -> None:
    hosts = HostPool()
    taken = [hosts.take(MIB) for _ in range(9)]
    for host in taken:
        hosts.give_back(host)
    kept = [host for host in (hosts.take(MIB) for _ in range(9)) if host in taken]
    assert len(kept) == 4


def test_guests_in_two_threads_run_on_two_hosts() -> None:
    hosts, outcomes = HostPool(), list[Outcome]()
    threads = [threading.Thread(target=lambda: outcomes.append(launch("gKeOS", hosts))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [launch("gKeOS", None)] * 2
