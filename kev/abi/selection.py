"""Finds the ABI of a guest.

What a user or the guest's manifest names comes first. Otherwise it follows the boot protocol: an image that is entered as KeOS is
gets KeOS' ABI, one that the JOS VMM would enter gets that of the JOS VMM, and any other one `kev.abi.kev`, which serves kernels for
KVM and kernels for KeV alike.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from kev.errors import KevError

if TYPE_CHECKING:
    from kev.abi.base import GuestAbi

ABIS: Final = {"keos": "Keos", "kvm": "Kvm", "kev": "Kev", "jos": "Jos", "lvisor": "Lvisor"}
"""The names of all ABIs and of the classes in their modules."""
_BY_PROTOCOL: Final = {"keos": "keos", "jos": "jos"}
_FOR_ANY_PROTOCOL: Final = "kev"


class AbiError(KevError):
    """There is no guest ABI of that name."""


def default_abi(protocol: str) -> str:
    """The name of the ABI of an image that is booted by the protocol of this name."""
    return _BY_PROTOCOL.get(protocol, _FOR_ANY_PROTOCOL)


def abi_named(name: str) -> "type[GuestAbi]":
    """AbiError if there is no ABI of that name: names the nearest."""
    if name not in ABIS:
        raise AbiError(_describe_unknown(name))
    # A run needs one of them, and most runs the first.
    abi: type[GuestAbi] = getattr(import_module(f"kev.abi.{name}"), ABIS[name])
    return abi


def _describe_unknown(name: str) -> str:
    from difflib import get_close_matches

    nearest = get_close_matches(name.lower(), ABIS, 1, 0.5)
    hint = f": is it {nearest[0]!r}?" if nearest else ":"
    return f"no guest ABI is named {name!r}{hint} There are {', '.join(ABIS)}"
