"""Messages between environments: a value of 32 bits, and perhaps a page, which both have from then on (JOS, kern/syscall.c)."""

from typing import Final

from kev.addressing import PAGE_SIZE, Hpa
from kev.envs.environment import Environment, Status
from kev.envs.errors import JosError, JosFailure

NO_PAGE: Final = 1 << 63
"""An address above any environment's: no page is sent, or none is wanted."""
PTE_P: Final = 1 << 0
PTE_W: Final = 1 << 1
PTE_U: Final = 1 << 2
PTE_SHARE: Final = 1 << 10
_SENDABLE: Final = 0xE00 | PTE_P | PTE_W | PTE_U
"""Bits of a page table entry that an environment may ask for: those, and the ones that are left to software."""
_MASK32: Final = 0xFFFF_FFFF


def try_send(sender: Environment, receiver: Environment, value: int, address: int, permissions: int) -> None:
    """Gives `receiver` a value, and the page that `sender` has at `address` unless that is beyond its memory: sys_ipc_try_send.

    JosFailure: E_IPC_NOT_RECV if the receiver does not wait for a message; E_INVAL if the page cannot be sent; E_NO_MEM.
    """
    if not receiver.receiving:
        raise JosFailure(JosError.IPC_NOT_RECV, f"environment {receiver.id:08x} does not wait for a message")
    received = 0
    if address < sender.space.limit:
        page = _checked(sender, address, permissions)
        if receiver.receives_at < receiver.space.limit:
            receiver.space.insert(receiver.receives_at, page, permissions)
            received = permissions
    receiver.value = value & _MASK32
    receiver.sender = sender.id
    receiver.with_page = received
    receiver.receiving = False
    receiver.status = Status.RUNNABLE


def receive(receiver: Environment, address: int) -> None:
    """The environment waits for a message, whose page is to be at `address` unless that is beyond its memory: sys_ipc_recv.

    JosFailure (E_INVAL) if that is not where a page begins.
    """
    if address < receiver.space.limit and address % PAGE_SIZE:
        raise JosFailure(JosError.INVAL, f"address {address:#x} for a page that comes with a message is not the beginning of one")
    receiver.receives_at = address
    receiver.with_page = 0
    receiver.receiving = True
    receiver.status = Status.NOT_RUNNABLE


def _checked(sender: Environment, address: int, permissions: int) -> Hpa:
    if address % PAGE_SIZE:
        raise JosFailure(JosError.INVAL, f"address {address:#x} of a page to send is not the beginning of one")
    if permissions & (PTE_P | PTE_U) != PTE_P | PTE_U or permissions & ~_SENDABLE:
        raise JosFailure(
            JosError.INVAL, f"permissions {permissions:#x} of a page to send: P and U must be there, W and 0xe00 may be"
        )
    mapped = sender.space.find(address)
    if mapped is None:
        raise JosFailure(JosError.INVAL, f"address {address:#x}: environment {sender.id:08x} has no page there to send")
    if permissions & PTE_W and not mapped.permissions & PTE_W:
        raise JosFailure(JosError.INVAL, f"address {address:#x}: the page is read-only, and cannot be sent as writable")
    return mapped.page
