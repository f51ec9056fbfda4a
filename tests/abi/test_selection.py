"""Which ABI a guest gets."""

import pytest
from click.testing import CliRunner

import kev
from kev.abi.selection import ABIS, AbiError, abi_named, default_abi
from kev.boot.detection import detect
from kev.boot.kernel_file import KernelFile
from kev.boot.protocols import PROTOCOLS
from kev.cli.main import kev as kev_command
from kev.guests.catalogue import Guest, guests
from kev.guests.images import open_image

_OTHERS = {"gKeOS": "keos", "lv6": "lvisor", "lv6-vmcall": "lvisor", "jos": "jos", "jos-vmx": "jos_vmx"}


@pytest.mark.parametrize("guest", guests(), ids=lambda guest: guest.name)
def test_the_abi_of_every_guest_follows_its_manifest_or_its_protocol(guest: Guest) -> None:
    assert (guest.abi or default_abi(guest.boot)) == _OTHERS.get(guest.name, "kev")


@pytest.mark.parametrize("guest", [guest for guest in guests() if not guest.abi], ids=lambda guest: guest.name)
def test_a_guest_without_an_abi_in_its_manifest_gets_the_same_one_as_a_file(guest: Guest) -> None:
    with open_image(guest.name) as (source, _):
        assert default_abi(detect(KernelFile(source)).protocol.name) == default_abi(guest.boot)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_an_abi(protocol: str) -> None:
    assert abi_named(default_abi(protocol)).name == {"keos": "keos", "jos": "jos"}.get(protocol, "kev")


@pytest.mark.parametrize("name", ABIS)
def test_an_abi_has_the_name_by_which_it_is_found(name: str) -> None:
    assert abi_named(name).name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [("kmv", "is it 'kvm'?"), ("KeOS", "is it 'keos'?"), ("xen", f": there are {', '.join(ABIS)}")],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(AbiError, match=r"^no guest ABI is named '") as refusal:
        abi_named(name)
    assert message in str(refusal.value)


def test_the_command_line_says_which_abi_there_is() -> None:
    result = CliRunner().invoke(kev_command, ["run", "hypercalls", "--abi", "keso"], prog_name="kev")
    assert result.exit_code == 2
    assert "there is no such guest ABI: is it 'keos'?" in result.stderr


def test_the_user_decides() -> None:
    assert kev.launch("hypercalls", abi="keos").exit_code == 42
    assert b"printed" not in (kev.launch("hypercalls", abi="kvm", timeout=30).output or b"")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_where_the_hypervisor_serves_system_calls_the_abi_is_the_one_that_has_some(protocol: str) -> None:
    assert abi_named(default_abi(protocol, "intercept")).serves_system_calls


def test_an_abi_without_system_calls_serves_none() -> None:
    message = "^syscall: 'intercept': the guest ABI 'kvm' has no system calls to serve; 'lvisor' has$"
    with pytest.raises(AbiError, match=message):
        kev.launch("user", abi="kvm", syscall="intercept")
