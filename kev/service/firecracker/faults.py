"""What a request is refused with."""

from http import HTTPStatus
from typing import Final

from kev.errors import KevError


class Fault(KevError):
    """A request cannot be carried out: its `fault_message`."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status: Final = status


class NotSupported(Fault):
    """What kev does not have. Says what that is."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The requested operation is not supported: {what}")


class AfterStart(Fault):
    """What can only be done before the machine starts."""

    def __init__(self) -> None:
        super().__init__("The requested operation is not supported after starting the microVM.")


class BeforeStart(Fault):
    """What can only be done once the machine has started."""

    def __init__(self) -> None:
        super().__init__("The requested operation is not supported before starting the microVM.")


def os_error_text(error: OSError) -> str:
    """As Rust writes it."""
    return f"{error.strerror} (os error {error.errno})"
