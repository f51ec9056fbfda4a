"""Messages between environments, and the pages that they share."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.addressing import MIB, PAGE_SIZE, Gpa
from kev.dev.base import DeviceError
from kev.envs.environment import Environment, EnvironmentKind, Status
from kev.envs.errors import JosError
from kev.envs.guest_port import GuestPort
from kev.envs.ipc import NO_PAGE, PTE_P, PTE_U, PTE_W, receive, try_send
from kev.envs.spaces import GuestSpace, HostSpace
from kev.envs.table import Environments
from tests.envs.lab import failure, new_host
from tests.examples import examples

PAGE = 0x40_0000
OTHER = 0x50_0000
RW = PTE_P | PTE_U | PTE_W


class Memory:
    """A guest's memory."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        self.read_only: set[int] = set()

    def read(self, gpa: Gpa, length: int) -> bytes:
        if gpa + length > len(self.data):
            raise DeviceError(f"{gpa:#x} is no memory")
        return bytes(self.data[gpa : gpa + length])

    def write(self, gpa: Gpa, data: bytes) -> None:
        self.data[gpa : gpa + len(data)] = data

    def permit_writes(self, gpa: Gpa, permitted: bool) -> None:
        (self.read_only.discard if permitted else self.read_only.add)(gpa)


def environments() -> tuple[Environments, Environment, Environment]:
    host = new_host()
    return host, host.create(EnvironmentKind.USER), host.create(EnvironmentKind.USER)


def space(environment: Environment) -> HostSpace:
    assert isinstance(environment.space, HostSpace)
    return environment.space


def test_a_value_comes_without_a_page() -> None:
    _, sender, receiver = environments()
    receive(receiver, OTHER)
    assert receiver.status is Status.NOT_RUNNABLE
    try_send(sender, receiver, 2**32 + 5, NO_PAGE, 0)
    assert (receiver.value, receiver.sender, receiver.with_page) == (5, sender.id, 0)
    assert (receiver.receiving, receiver.status) == (False, Status.RUNNABLE)
    assert receiver.space.find(OTHER) is None


def test_who_does_not_wait_gets_nothing() -> None:
    _, sender, receiver = environments()
    assert failure(lambda: try_send(sender, receiver, 1, NO_PAGE, 0))[0] is JosError.IPC_NOT_RECV
    receive(receiver, NO_PAGE)
    try_send(sender, receiver, 1, NO_PAGE, 0)
    assert failure(lambda: try_send(sender, receiver, 2, NO_PAGE, 0))[0] is JosError.IPC_NOT_RECV
    assert receiver.value == 1


def test_a_page_is_shared_from_then_on() -> None:
    host, sender, receiver = environments()
    page = space(sender).allocate(PAGE, RW)
    receive(receiver, OTHER)
    try_send(sender, receiver, 1, PAGE, RW)
    mapped = receiver.space.find(OTHER)
    assert mapped is not None
    assert (mapped.page, mapped.permissions, receiver.with_page, host.memory.references(page)) == (page, RW, RW, 2)
    receiver.space.remove(OTHER)
    assert host.memory.references(page) == 1


def test_who_wants_no_page_gets_the_value_alone() -> None:
    host, sender, receiver = environments()
    page = space(sender).allocate(PAGE, RW)
    receive(receiver, NO_PAGE)
    try_send(sender, receiver, 1, PAGE, RW)
    assert (receiver.with_page, host.memory.references(page)) == (0, 1)


@pytest.mark.parametrize(
    ("address", "permissions"),
    [(PAGE + 1, RW), (OTHER, RW), (PAGE, 0), (PAGE, PTE_P), (PAGE, PTE_U | PTE_W), (PAGE, RW | 8), (PAGE + PAGE_SIZE, RW)],
)
def test_a_page_that_cannot_be_sent_leaves_the_receiver_waiting(address: int, permissions: int) -> None:
    _, sender, receiver = environments()
    space(sender).allocate(PAGE, RW)
    space(sender).allocate(PAGE + PAGE_SIZE, PTE_P | PTE_U)
    receive(receiver, 0)
    assert failure(lambda: try_send(sender, receiver, 1, address, permissions))[0] is JosError.INVAL
    assert receiver.receiving


def test_a_page_is_received_at_the_beginning_of_one() -> None:
    _, _, receiver = environments()
    assert failure(lambda: receive(receiver, PAGE + 8))[0] is JosError.INVAL
    assert not receiver.receiving


def guest_of(host: Environments) -> tuple[Environment, GuestSpace, Memory]:
    memory = Memory(MIB)
    guest = host.create_guest((range(MIB),), memory)
    assert isinstance(guest.space, GuestSpace)
    return guest, guest.space, memory


def test_a_guest_sees_a_page_that_it_is_sent_and_the_host_what_it_stores() -> None:
    host, sender, _ = environments()
    guest, _, memory = guest_of(host)
    page = space(sender).allocate(PAGE, RW)
    host.memory.write(page, 0, b"from the host")
    receive(guest, 0x2000)
    try_send(sender, guest, 1, PAGE, 0x407)
    assert memory.read(Gpa(0x2000), 13) == b"from the host"
    memory.write(Gpa(0x2005), b"GUEST")
    assert host.memory.read(page, 0, 13) == b"from GUESTost"
    host.memory.write(page, 0, b"back")
    assert memory.read(Gpa(0x2000), 4) == b"back"


def test_a_guest_may_do_with_a_page_what_the_sender_permits() -> None:
    host, sender, _ = environments()
    guest, in_guest, memory = guest_of(host)
    page = space(sender).allocate(PAGE, RW)
    for permissions, read_only in ((PTE_P | PTE_U, {0x2000}), (RW, set()), (PTE_P | PTE_U, {0x2000})):
        receive(guest, 0x2000)
        try_send(sender, guest, 1, PAGE, permissions)
        assert guest.with_page == permissions
        assert (memory.read_only, in_guest.is_read_only(0x2000)) == (read_only, bool(read_only))
    host.memory.write(page, 0, b"the host may")
    assert memory.read(Gpa(0x2000), 12) == b"the host may"
    in_guest.remove(0x2000)
    assert memory.read_only == set()


def test_a_guest_does_not_send_on_as_writable_what_it_may_not_write() -> None:
    host, sender, _ = environments()
    guest, _, _ = guest_of(host)
    space(sender).allocate(PAGE, PTE_P | PTE_U)
    receive(guest, 0x2000)
    try_send(sender, guest, 1, PAGE, PTE_P | PTE_U)
    receive(sender, OTHER)
    assert failure(lambda: try_send(guest, sender, 1, 0x2000, RW))[0] is JosError.INVAL
    try_send(guest, sender, 1, 0x2000, PTE_P | PTE_U)


def test_a_page_that_another_replaces_in_a_guest_keeps_what_it_holds() -> None:
    host, sender, _ = environments()
    guest, _, memory = guest_of(host)
    pages = [space(sender).allocate(PAGE + index * PAGE_SIZE, RW) for index in range(2)]
    for index in range(2):
        receive(guest, 0x2000)
        try_send(sender, guest, 1, PAGE + index * PAGE_SIZE, 0x407)
        memory.write(Gpa(0x2000), bytes([index + 1]))
    assert [host.memory.read(page, 0, 1) for page in pages] == [b"\1", b"\2"]
    assert [host.memory.references(page) for page in pages] == [1, 2]


def test_a_reply_without_a_page_leaves_the_guests_page() -> None:
    host, sender, _ = environments()
    guest, _, memory = guest_of(host)
    memory.write(Gpa(0x2000), b"envs array")
    receive(guest, 0x2000)
    try_send(sender, guest, 1, NO_PAGE, 0)
    assert memory.read(Gpa(0x2000), 10) == b"envs array"
    assert len(host.memory) == 0


def test_a_guest_sees_a_page_at_one_address() -> None:
    host, sender, _ = environments()
    guest, _, _ = guest_of(host)
    space(sender).allocate(PAGE, RW)
    receive(guest, 0x2000)
    try_send(sender, guest, 1, PAGE, RW)
    receive(guest, 0x3000)
    assert failure(lambda: try_send(sender, guest, 1, PAGE, RW))[0] is JosError.INVAL
    receive(guest, 0x2000)
    try_send(sender, guest, 1, PAGE, RW)


def test_a_guest_that_is_gone_leaves_its_pages_to_the_others() -> None:
    host, receiver, _ = environments()
    guest, _, memory = guest_of(host)
    memory.write(Gpa(0x2000), b"legacy")
    receive(receiver, PAGE)
    try_send(guest, receiver, 1, 0x2000, RW)
    host.destroy(guest)
    mapped = receiver.space.find(PAGE)
    assert mapped is not None
    assert host.memory.read(mapped.page, 0, 6) == b"legacy"
    assert host.memory.references(mapped.page) == 1
    receiver.space.remove(PAGE)
    assert len(host.memory) == 0


@pytest.mark.parametrize(
    ("destination", "gpa", "permissions"), [(1, MIB, 7), (1, 0x1001, 7), (1, 0x2000, 0), (2, 0x2000, 7), (0, 0x2000, 7)]
)
def test_a_guest_sends_pages_of_its_ram_to_the_file_system(destination: int, gpa: int, permissions: int) -> None:
    host, _, _ = environments()
    port = GuestPort(host, (range(MIB),), Memory(MIB))
    assert port.send(destination, 1, Gpa(gpa), permissions) == -3
    assert host.file_server.environment.receiving
    assert port.send(1, 1, Gpa(0x2000), 7) == 0
    assert port.send(1, 1, Gpa(0x2000), 7) == -8


def test_a_guest_receives_where_a_page_begins() -> None:
    host, _, _ = environments()
    port = GuestPort(host, (range(MIB),), Memory(MIB))
    assert port.receive(0, Gpa(0x2001)) == (-3, 0)
    assert port.receive(0, Gpa(0x2000)) is None
    assert port.receive(1, Gpa(0x2000)) == (-3, 0), "one waits already"


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("share"), st.integers(0, 2), st.integers(0, 3)),
        st.tuples(st.just("store"), st.integers(0, 2), st.integers(0, 3)),
        st.tuples(st.just("drop"), st.integers(0, 2), st.integers(0, 3)),
    ),
    max_size=40,
)


@given(MOVES)
@settings(max_examples=examples(100), deadline=None)
def test_whoever_looks_at_a_shared_page_sees_what_was_stored_last(moves: list[tuple[str, int, int]]) -> None:
    """Two guests, which take turns, and an environment of the host's; four pages, each at its own place everywhere."""
    host = new_host()
    owner = host.create(EnvironmentKind.USER)
    guests = [guest_of(host) for _ in range(2)]
    pages = [space(owner).allocate(PAGE + number * PAGE_SIZE, RW) for number in range(4)]
    has = [{0, 1, 2, 3}, set(), set()]
    values = [0] * 4
    for count, (move, who, number) in enumerate(moves, 1):
        gpa = Gpa(0x2000 + number * PAGE_SIZE)
        if who:
            host.memory.bring(guests[who - 1][0].id)
        if move == "share" and who:
            receive(guests[who - 1][0], gpa)
            try_send(owner, guests[who - 1][0], 0, PAGE + number * PAGE_SIZE, RW)
            has[who].add(number)
        elif move == "drop" and who:
            guests[who - 1][0].space.remove(gpa)
            has[who].discard(number)
        elif move == "store" and number in has[who]:
            values[number] = count
            if who:
                guests[who - 1][2].write(gpa, bytes([count]))
            else:
                host.memory.write(pages[number], 0, bytes([count]))
        for seen in range(4):
            assert host.memory.read(pages[seen], 0, 1) == bytes([values[seen]])
            assert host.memory.references(pages[seen]) == sum(seen in pages_of for pages_of in has)
            for guest, (environment, _, memory) in enumerate(guests, 1):
                if seen in has[guest]:
                    host.memory.bring(environment.id)
                    assert memory.read(Gpa(0x2000 + seen * PAGE_SIZE), 1) == bytes([values[seen]])
    for environment, _, _ in guests:
        host.destroy(environment)
    host.destroy(owner)
    assert len(host.memory) == 0
