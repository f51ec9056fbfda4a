"""How a page-table operation is refused. Every message names the address and the limit."""

from kev.errors import KevError


class PagingError(KevError):
    """A page table was asked for something that it cannot do."""


class UnalignedAddress(PagingError):
    """An address or a length is not a multiple of the page size it is used with."""

    def __init__(self, what: str, address: int, alignment: int) -> None:
        super().__init__(f"{what} {address:#x} is not a multiple of {alignment:#x}")


class AddressOutOfRange(PagingError):
    """An address has more bits than the tables or their entries translate."""

    def __init__(self, what: str, address: int, length: int, limit: int) -> None:
        super().__init__(f"{what} {address:#x} and the {length:#x} bytes from there do not lie in [0, {limit:#x})")


class AlreadyMapped(PagingError):
    """A page is mapped already, by itself or as part of a larger page."""

    def __init__(self, gpa: int, existing: str) -> None:
        super().__init__(f"guest-physical address {gpa:#x} is already mapped: {existing}")


class NotPresent(PagingError):
    """No page of the wanted size is mapped at an address."""

    def __init__(self, gpa: int, reason: str) -> None:
        super().__init__(f"guest-physical address {gpa:#x} is not present: {reason}")


class Misconfigured(PagingError):
    """An entry says something that its format does not define: `kev.page_tables.audit` finds it."""


class NotExpressible(PagingError):
    """An entry format has no encoding for these permissions or this memory type."""
