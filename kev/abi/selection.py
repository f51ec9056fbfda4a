"""Finds the ABI of a guest.

What a user or the guest's manifest names comes first. Otherwise it follows the boot protocol: an image that is entered as KeOS is
gets KeOS' ABI, one that the JOS VMM would enter gets that of the JOS VMM, and any other one `kev.abi.kev`, which serves kernels for
KVM and kernels for KeV alike.

If the hypervisor is to serve system calls, it is the ABI that has some instead.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from kev.errors import KevError, known_names

if TYPE_CHECKING:
    from kev.abi.base import GuestAbi

ABIS: Final = {"keos": "Keos", "kvm": "Kvm", "kev": "Kev", "jos": "Jos", "jos_vmx": "JosVmx", "lvisor": "Lvisor"}
"""The names of all ABIs and of the classes in their modules."""
_BY_PROTOCOL: Final = {"keos": "keos", "jos": "jos"}
_FOR_ANY_PROTOCOL: Final = "kev"
_WITH_SYSTEM_CALLS: Final = "lvisor"
INTERCEPT: Final = "intercept"
"""What a description's `syscall` is where the hypervisor serves system calls."""


class AbiError(KevError):
    """There is no guest ABI of that name, or it has not what is asked of it."""


def chosen_abi(name: str | None, protocol: str, syscall: str) -> "type[GuestAbi]":
    """The ABI called `name`, or else that of an image that is booted by `protocol`, on a machine with this `syscall`. AbiError."""
    abi = abi_named(name or default_abi(protocol, syscall))
    if syscall == INTERCEPT and not abi.serves_system_calls:
        raise AbiError(f"syscall: {syscall!r}: the guest ABI {abi.name!r} has no system calls to serve; {_WITH_SYSTEM_CALLS!r} has")
    return abi


def default_abi(protocol: str, syscall: str = "native") -> str:
    """The name of the ABI of an image that is booted by the protocol of this name, on a machine with this `syscall`."""
    if syscall == INTERCEPT:
        return _WITH_SYSTEM_CALLS
    return _BY_PROTOCOL.get(protocol, _FOR_ANY_PROTOCOL)


def abi_named(name: str) -> "type[GuestAbi]":
    """AbiError if there is no ABI of that name: names the nearest."""
    if name not in ABIS:
        raise AbiError(_describe_unknown(name))
    # A run needs one of them, and most runs the first.
    abi: type[GuestAbi] = getattr(import_module(f"kev.abi.{name}"), ABIS[name])
    return abi


def _describe_unknown(name: str) -> str:
    return f"no guest ABI is named {name!r}: {known_names(name, ABIS)}"
