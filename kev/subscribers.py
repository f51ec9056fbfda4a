"""Who is told when something happens: any number of callbacks, none of which replaces another."""

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Subscribers(Generic[P]):
    """Callbacks, called in the order they came. It is false while nobody listens, so that a caller can spare the arguments."""

    __slots__ = ("_by_subscription", "callbacks")

    def __init__(self) -> None:
        self._by_subscription: dict[object, Callable[P, object]] = {}
        self.callbacks: tuple[Callable[P, object], ...] = ()
        """All of them, in order: a hot path calls each itself."""

    def subscribe(self, callback: Callable[P, object]) -> Callable[[], None]:
        """Calls `callback` from now on, until what is returned is called; that a second time does nothing.

        A callback that subscribes twice is called twice. Who comes or goes during a call counts from the next call on.
        """
        subscription = object()
        self._by_subscription[subscription] = callback
        self.callbacks = tuple(self._by_subscription.values())

        def unsubscribe() -> None:
            self._by_subscription.pop(subscription, None)
            self.callbacks = tuple(self._by_subscription.values())

        return unsubscribe

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Calls all of them. What one raises, the caller gets, and those after it are not called."""
        for callback in self.callbacks:
            callback(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self.callbacks)
