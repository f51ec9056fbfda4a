"""What a run says is passed on once, however often the run is repeated."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Lines of a run, in front of whoever is given them."""

    def __init__(self, callback: Callable[[T], object]) -> None:
        self._callback: Final = callback
        self._told = 0

    def from_the_beginning(self) -> Callable[[T], None]:
        """What to call with the lines of a machine that begins anew."""
        said = 0

        def say(line: T) -> None:
            nonlocal said
            said += 1
            if said > self._told:
                self._told = said
                self._callback(line)

        return say
