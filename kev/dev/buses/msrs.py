"""The model-specific registers of a machine, and the devices behind them."""

from kev.dev.base import MsrDevice
from kev.dev.buses.claims import Claims
from kev.exits import GENERAL_PROTECTION, GuestException


class MsrBus:
    """Finds the device behind an MSR in one lookup.

    An MSR without a device raises #GP, as on a processor that does not have it, unless the bus is lenient: then it reads as 0 and
    ignores writes.
    """

    __slots__ = ("_claims", "_devices", "_lenient")

    def __init__(self, lenient: bool = False) -> None:
        self._lenient = lenient
        self._claims = Claims("MSR")
        self._devices: dict[int, MsrDevice] = {}

    def attach(self, device: MsrDevice) -> None:
        """Puts `device` behind its MSRs. DeviceConflict if one is taken."""
        indices = [index for indices in device.msrs for index in indices]
        self._claims.claim(device.name, indices)
        self._devices.update(dict.fromkeys(indices, device))

    def read(self, vcpu: int, index: int) -> int | GuestException:
        """RDMSR by vCPU number `vcpu`."""
        device = self._devices.get(index)
        if device is not None:
            return device.read_msr(vcpu, index)
        return 0 if self._lenient else GENERAL_PROTECTION

    def write(self, vcpu: int, index: int, value: int) -> GuestException | None:
        """WRMSR of a 64-bit value by vCPU number `vcpu`."""
        device = self._devices.get(index)
        if device is not None:
            return device.write_msr(vcpu, index, value)
        return None if self._lenient else GENERAL_PROTECTION
