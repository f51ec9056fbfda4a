"""Who wants to be told of something: any number of callbacks, none of which takes another's place."""

from collections.abc import Callable
from typing import Final, Generic, ParamSpec

P = ParamSpec("P")


class Subscribers(Generic[P]):
    """Callbacks that are called in the order in which they subscribed."""

    __slots__ = ("_callbacks",)

    def __init__(self) -> None:
        self._callbacks: Final[list[Callable[P, object]]] = []

    def subscribe(self, callback: Callable[P, object]) -> Callable[[], None]:
        """Calls `callback` from now on; what is returned ends that."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        for callback in tuple(self._callbacks):
            callback(*args, **kwargs)

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self._callbacks)
