"""Which device owns which ports, MSRs or pages: two devices never share one."""

from collections.abc import Iterable

from kev.errors import KevError


class DeviceConflict(KevError):
    """Two devices of one machine want the same port, MSR or page."""


class Claims:
    """The owners, by name, of the numbers of one kind."""

    __slots__ = ("_kind", "_owners", "_unit")

    def __init__(self, kind: str, unit: int = 1) -> None:
        """`kind` names the numbers in errors ("port"); a number is shown multiplied by `unit`."""
        self._kind = kind
        self._unit = unit
        self._owners: dict[int, str] = {}

    def claim(self, owner: str, numbers: Iterable[int]) -> None:
        """Takes every one of `numbers` for `owner`, or none: DeviceConflict names the first that is taken, and both owners."""
        wanted = tuple(numbers)
        for number in wanted:
            if number in self._owners:
                raise DeviceConflict(
                    f"{self._kind} {number * self._unit:#x} is wanted by two devices: {self._owners[number]} and {owner}"
                )
        self._owners.update(dict.fromkeys(wanted, owner))

    def release(self, numbers: Iterable[int]) -> None:
        """Gives back what was claimed."""
        for number in numbers:
            del self._owners[number]

    def __contains__(self, number: int) -> bool:
        return number in self._owners

    def ranges(self) -> list[tuple[str, range]]:
        """Every owner with what it owns, as runs of numbers, ascending; each shown as in errors, multiplied by the unit."""
        runs: list[tuple[str, int, int]] = []
        for number, owner in sorted(self._owners.items()):
            if runs and runs[-1][0] == owner and runs[-1][2] == number:
                runs[-1] = (owner, runs[-1][1], number + 1)
            else:
                runs.append((owner, number, number + 1))
        return [(owner, range(start * self._unit, stop * self._unit)) for owner, start, stop in runs]
