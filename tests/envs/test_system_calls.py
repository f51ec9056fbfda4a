"""Making guests: the checks of `sys_env_mkguest` and `sys_ept_map`, each with its error."""

import pytest

from kev.addressing import MIB, PAGE_SIZE, Hpa
from kev.envs.environment import USER_TOP, EnvironmentKind, Status
from kev.envs.ept import Edition, ept_entry
from kev.envs.errors import JosError
from kev.envs.ipc import PTE_P, PTE_U, PTE_W
from kev.envs.system_calls import SystemCalls
from kev.envs.vmx import CPUID_VMX, ENABLE_EPT, SECONDARY_CONTROLS, VmxCapabilities
from tests.envs.lab import Lab, failure, new_host
from tests.envs.lab import lab as new_lab

SOURCE = 0x40_0000
READ_ONLY = 0x40_1000
NOTHING = 0x40_2000
GPA = 0x10_0000
R, W, X, RWX = 1, 2, 4, 7


def lab(edition: Edition = Edition.UT, memory: int = MIB) -> Lab:
    """The current environment has two pages."""
    made = new_lab(edition, memory)
    made.calls.page_alloc(SOURCE, PTE_P | PTE_U | PTE_W)
    made.calls.page_alloc(READ_ONLY, PTE_P | PTE_U)
    return made


def page(made: Lab) -> Hpa:
    mapped = made.calls.current.space.find(SOURCE)
    assert mapped is not None
    return mapped.page


def references(made: Lab) -> int:
    return made.calls.host.memory.references(page(made))


EDITIONS = pytest.mark.parametrize("edition", Edition)


def test_a_guest_does_not_run_before_its_status_says_so() -> None:
    made = lab()
    guest = made.calls.host.find(made.guest)
    assert (guest.kind, guest.status, guest.parent) == (EnvironmentKind.GUEST, Status.NOT_RUNNABLE, made.calls.current.id)
    assert (guest.entry, made.space.limit) == (0x7000, 16 * MIB)
    assert list(made.space) == []
    made.calls.env_set_status(made.guest, Status.RUNNABLE)
    assert guest.status is Status.RUNNABLE


def test_the_run_count_says_how_a_guest_is_entered() -> None:
    made = lab()
    guest = made.calls.host.find(made.guest)
    assert [guest.switch_to() for _ in range(3)] == ["VMLAUNCH", "VMRESUME", "VMRESUME"]
    assert guest.runs == 3


def test_an_environment_cannot_be_made_ended() -> None:
    made = lab()
    code, what = failure(lambda: made.calls.env_set_status(made.guest, Status.ENDED))
    assert (code, what) == (JosError.INVAL, f"environment {made.guest:08x} cannot be made ended (-3, E_INVAL)")


NO_VMX = (JosError.NO_VMX, "[VMM] VMX extension not supported. (-17, E_NO_VMX)")
NO_EPT = (JosError.NO_EPT, "[VMM] EPT extension not supported. (-18, E_NO_EPT)")


@pytest.mark.parametrize(
    ("processor", "answer"),
    [
        (VmxCapabilities(cpuid_1_ecx=0), NO_VMX),
        (VmxCapabilities(cpuid_1_ecx=~CPUID_VMX), NO_VMX),
        (VmxCapabilities(0, 0, 0), NO_VMX),
        (VmxCapabilities(procbased_ctls=0), NO_EPT),
        (VmxCapabilities(procbased_ctls=~SECONDARY_CONTROLS), NO_EPT),
        (VmxCapabilities(procbased_ctls2=0), NO_EPT),
        (VmxCapabilities(procbased_ctls2=~ENABLE_EPT), NO_EPT),
    ],
)
def test_a_processor_without_vmx_or_ept_has_no_guests(processor: VmxCapabilities, answer: tuple[JosError, str]) -> None:
    made = lab()
    calls = SystemCalls(made.calls.host, made.calls.current, processor)
    before = len(list(calls.host))
    assert failure(calls.env_mkguest) == answer
    assert len(list(calls.host)) == before


def test_a_guest_has_whole_pages_of_memory() -> None:
    assert failure(lambda: lab().calls.env_mkguest(MIB + 1))[0] is JosError.INVAL


def test_there_are_1024_environments() -> None:
    host = new_host()
    for _ in range(1023):
        host.create(EnvironmentKind.USER)
    assert failure(lambda: host.create(EnvironmentKind.USER))[0] is JosError.NO_FREE_ENV


@EDITIONS
def test_a_page_is_mapped_and_has_one_more_reference(edition: Edition) -> None:
    made = lab(edition)
    made.calls.ept_map(0, SOURCE, made.guest, GPA, R)
    assert ept_entry(made.space.table, GPA) == page(made) | R | 0x30 | 0x40
    assert references(made) == 2


@EDITIONS
@pytest.mark.parametrize("perm", [R, R | W, R | X, RWX])
def test_permissions_with_read_are_taken_as_they_are(edition: Edition, perm: int) -> None:
    made = lab(edition)
    made.calls.ept_map(0, SOURCE, made.guest, GPA, perm)
    mapped = made.space.find(GPA)
    assert mapped is not None
    assert mapped.permissions == perm


@EDITIONS
def test_what_is_mapped_stays(edition: Edition) -> None:
    made = lab(edition)
    made.calls.ept_map(0, SOURCE, made.guest, GPA, R)
    code, what = failure(lambda: made.calls.ept_map(0, SOURCE, made.guest, GPA, R))
    assert (code, what) == (JosError.INVAL, "gpa 0x100000 is mapped already (-3, E_INVAL)")
    assert references(made) == 2


@pytest.mark.parametrize(
    ("source", "srcva", "gpa", "perm", "code", "what"),
    [
        (0x7777, SOURCE, GPA, R, JosError.BAD_ENV, "there is no environment 00007777"),
        (0x1000, SOURCE, GPA, R, JosError.BAD_ENV, "environment 00001000 is no child of 00001001"),
        (0, USER_TOP, GPA, R, JosError.INVAL, "srcva 0x8000800000 is not below UTOP, 0x8000800000"),
        (0, SOURCE + 1, GPA, R, JosError.INVAL, "srcva 0x400001 is not the beginning of a page"),
        (0, SOURCE, 16 * MIB, R, JosError.INVAL, "gpa 0x1000000 is not below the guest's memory of 0x1000000 bytes"),
        (0, SOURCE, GPA + 8, R, JosError.INVAL, "gpa 0x100008 is not the beginning of a page"),
        (0, SOURCE, GPA, 0, JosError.INVAL, "perm 0x0 without READ"),
        (0, SOURCE, GPA, W, JosError.INVAL, "perm 0x2 without READ"),
        (0, SOURCE, GPA, X, JosError.INVAL, "perm 0x4 without READ"),
        (0, SOURCE, GPA, R | 8, JosError.INVAL, "perm 0x9 with more than READ, WRITE and EXEC"),
        (0, NOTHING, GPA, R, JosError.INVAL, "srcva 0x402000: environment 00000000 has no page there"),
        (0, READ_ONLY, GPA, RWX, JosError.INVAL, "srcva 0x401000: the page is read-only, and cannot be mapped with WRITE"),
        # Where several things are wrong, the first check has the word.
        (0x7777, USER_TOP, GPA + 8, 0, JosError.BAD_ENV, "there is no environment 00007777"),
        (0, USER_TOP + 1, GPA + 8, 0, JosError.INVAL, "srcva 0x8000800001 is not below UTOP, 0x8000800000"),
        (0, NOTHING, 16 * MIB, 0, JosError.INVAL, "gpa 0x1000000 is not below the guest's memory of 0x1000000 bytes"),
        (0, NOTHING, GPA, W, JosError.INVAL, "perm 0x2 without READ"),
    ],
)
def test_each_check_of_a_mapping_has_its_own_error(source: int, srcva: int, gpa: int, perm: int, code: JosError, what: str) -> None:
    made = lab()
    assert failure(lambda: made.calls.ept_map(source, srcva, made.guest, gpa, perm)) == (
        code,
        f"{what} ({code.value}, E_{code.name})",
    )
    assert references(made) == 1
    assert list(made.space) == []


def test_only_the_current_environments_guests_are_mapped_into() -> None:
    made = lab()
    stranger = SystemCalls(made.calls.host, made.calls.host.create(EnvironmentKind.USER))
    assert failure(lambda: stranger.ept_map(0, SOURCE, made.guest, GPA, R))[0] is JosError.BAD_ENV
    assert failure(lambda: made.calls.ept_map(0, SOURCE, 0x7777, GPA, R))[0] is JosError.BAD_ENV


def test_an_environment_that_is_no_guest_is_not_mapped_into() -> None:
    made = lab()
    code, what = failure(lambda: made.calls.ept_map(0, SOURCE, 0, GPA, R))
    assert (code, what) == (JosError.INVAL, "environment 00000000 is no guest (-3, E_INVAL)")


@EDITIONS
def test_without_memory_for_a_table_nothing_is_mapped(edition: Edition) -> None:
    made = lab(edition, 6 * PAGE_SIZE)
    code, what = failure(lambda: made.calls.ept_map(0, SOURCE, made.guest, GPA, R))
    assert code is JosError.NO_MEM
    assert what.startswith("no memory for a table of the EPT")
    assert references(made) == 1


def test_a_guest_that_is_gone_leaves_no_page_and_no_table() -> None:
    made = lab()
    host = made.calls.host
    before = host.memory.memory.allocated - PAGE_SIZE  # the root of the guest's EPT
    for number in range(3):
        made.calls.ept_map(0, SOURCE, made.guest, GPA + number * PAGE_SIZE, R)
    assert references(made) == 4
    host.destroy(host.find(made.guest))
    assert (references(made), host.memory.memory.allocated) == (1, before)
    assert failure(lambda: host.find(made.guest))[0] is JosError.BAD_ENV


def test_the_next_environment_in_a_place_has_another_id() -> None:
    host = new_host()
    first = host.create(EnvironmentKind.USER)
    host.destroy(first)
    assert (first.id, host.create(EnvironmentKind.USER).id) == (0x1001, 0x2001)


def test_a_freed_page_is_zeros_for_its_next_owner() -> None:
    made = lab()
    memory = made.calls.host.memory
    memory.write(page(made), 0, b"secret")
    freed = page(made)
    made.calls.page_unmap(SOURCE)
    assert memory.references(freed) == 0
    made.calls.page_alloc(SOURCE, PTE_P | PTE_U | PTE_W)
    assert memory.read(page(made)) == bytes(PAGE_SIZE)
